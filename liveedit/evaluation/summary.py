"""From the tests of all runs to means with intervals: over all edits of one N, and by the age of an edit."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveedit.evaluation.cost import PART_SECONDS, PARTS, SECONDS
from liveedit.evaluation.metrics import RESAMPLES
from liveedit.evaluation.plan import Run

STREAM = 3_000_011
AGE_BINS = 10
AGE_METRICS = ("rel", "t_gen", "m_gen", "average", "rel.exact", "m_gen.exact", "recall.all")
COUNTS = ("passed.", "m_loc.passed", "false.passed")  # names of values that are numbers of experts, not shares


class Resamples:
    """Bootstrap resamples of some tests, drawn within each seed, and used for every value alike (Efron, 1979).

    ``weights`` [resamples, tests] says how often each test was drawn. Seeds are not resampled: three are too few to
    say how seeds vary. ``samples`` names the benchmark's sample behind each test (default: each has its own): one that
    several seeds tested is drawn with all of its tests at once, among those that the same seeds tested, since its
    tests say little more than one of them does.
    """

    def __init__(self, seeds: Sequence[int], samples: Sequence[Hashable] | None = None) -> None:
        rng = np.random.default_rng(STREAM)
        tests: dict[Hashable, list[int]] = {}
        for number, sample in enumerate(range(len(seeds)) if samples is None else samples):
            tests.setdefault(sample, []).append(number)
        alike: dict[tuple[int, ...], list[list[int]]] = {}
        for numbers in tests.values():
            alike.setdefault(tuple(seeds[number] for number in numbers), []).append(numbers)
        self.weights: NDArray[np.float32] = np.zeros((RESAMPLES, len(seeds)), dtype=np.float32)
        for group in alike.values():
            members = np.asarray(group)
            drawn = rng.integers(len(members), size=(RESAMPLES, len(members)))
            for row, chosen in zip(self.weights, drawn, strict=True):
                row[members] = np.bincount(chosen, minlength=len(members))[:, None]

    def interval(self, values: Sequence[float | None], scale: float = 1.0) -> dict[str, Any] | None:
        """``mean``, its 95 % percentile interval ``low`` to ``high``, and ``n``; None is left out, and None of nothing."""
        known = np.array([v is not None for v in values])
        if not known.any():
            return None
        found = np.array([v for v in values if v is not None], dtype=np.float64)
        weights = self.weights[:, known].astype(np.float64)
        totals = weights.sum(1)
        # A resample may miss every sample that has a value; it then says nothing about the mean.
        means = (weights @ found)[totals > 0] / totals[totals > 0]
        low, high = np.percentile(means, (2.5, 97.5))
        return {
            "mean": round(scale * float(found.mean()), 2),
            "low": round(scale * float(low), 2),
            "high": round(scale * float(high), 2),
            "n": len(found),
        }


def summarise(runs: Sequence[Run], contents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each number of edits; see ``docs/metrics.md`` for its keys."""
    return [
        _entry(count, [(r, c) for r, c in zip(runs, contents, strict=True) if r.edits == count])
        for count in sorted({run.edits for run in runs})
    ]


def _entry(count: int, pairs: Sequence[tuple[Run, Mapping[str, Any]]]) -> dict[str, Any]:
    tests = [(run, test) for run, content in pairs for test in content["tests"]]
    resamples = _resamples(tests)
    second = {"premises": sum(t["premises"] for _, t in tests if "premises" in t)}
    return {
        "edits": count,
        "runs": len(pairs),
        "tested": len(tests),
        "tested_per_run": pairs[0][0].tested,
        "edited": _means(resamples, [test["edited"] for _, test in tests]),
        "unedited": _means(resamples, [test["unedited"] for _, test in tests]),
        "ages": _ages(count, tests),
        "cost": _cost([content["cost"] for run, content in pairs if run.chunk == 0]),
        **(second if any("premises" in test for _, test in tests) else {}),
    }


def _resamples(tests: Sequence[tuple[Run, Mapping[str, Any]]]) -> Resamples:
    """Of tests, by the samples that they name; those that name none (drawn anew for each seed) have each its own."""
    return Resamples([run.seed for run, _ in tests], [test.get("sample", n) for n, (_, test) in enumerate(tests)])


def _means(resamples: Resamples, values: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """Mean and interval of every value, shares in percent; what no sample has is left out."""
    names = dict.fromkeys(name for row in values for name in row)
    found = {
        name: resamples.interval([row.get(name) for row in values], 1.0 if name.startswith(COUNTS) else 100.0)
        for name in names
    }
    return {name: value for name, value in found.items() if value is not None}


def _ages(count: int, tests: Sequence[tuple[Run, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Values by how many edits came after the tested one, oldest first, in at most ten bins of equal width."""
    bins = min(AGE_BINS, count)
    groups: list[list[tuple[Run, Mapping[str, Any]]]] = [[] for _ in range(bins)]
    for run, test in tests:
        groups[test["place"] * bins // count].append((run, test))
    entries = []
    for number, group in enumerate(groups):
        if not group:
            continue
        first, last = -(-number * count // bins), -(-(number + 1) * count // bins) - 1
        resamples = _resamples(group)
        entry: dict[str, Any] = {"age": [count - 1 - last, count - 1 - first], "tested": len(group)}
        for model in ("edited", "unedited"):
            rows = [{name: test[model].get(name) for name in AGE_METRICS} for _, test in group]
            entry[model] = _means(resamples, rows)
        entries.append(entry)
    return entries


def _cost(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The seeds' medians averaged, and the ratios of an edited to an unedited answer, whole and in parts where timed so."""
    parts = PARTS if all(set(PART_SECONDS) <= set(cost) for cost in costs) else ()
    keys = (*SECONDS, *(PART_SECONDS if parts else ()))
    found: dict[str, Any] = {key: round(mean(cost[key] for cost in costs), 5) for key in keys}
    for part in ("answer", *parts):
        # Seconds are kept to five decimals; an answer that took none of them would have no ratio.
        unedited = max(found[f"seconds_per_{part}_unedited"], 1e-5)
        found[f"{part}_ratio"] = round(found[f"seconds_per_{part}_edited"] / unedited, 3)
    found["timed"] = sum(cost["timed"] for cost in costs)
    found["bytes"] = round(mean(cost["repository_bytes"] for cost in costs))
    return found
