"""From the tests of all runs to means with intervals: over all edits of one N, and by the age of an edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveedit.evaluation.cost import SECONDS
from liveedit.evaluation.metrics import RESAMPLES
from liveedit.evaluation.plan import Run

STREAM = 3_000_011
AGE_BINS = 10
AGE_METRICS = ("rel", "t_gen", "m_gen", "average", "rel.exact", "m_gen.exact", "recall.all")
COUNTS = ("passed.", "m_loc.passed", "false.passed")  # names of values that are numbers of experts, not shares


class Resamples:
    """Bootstrap resamples of some samples, drawn within each seed, and used for every value alike (Efron, 1979).

    ``weights`` [resamples, samples] says how often each sample was drawn. Seeds are not resampled: three are too
    few to say how seeds vary.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        rng = np.random.default_rng(STREAM)
        labels = np.asarray(seeds)
        self.weights: NDArray[np.float32] = np.zeros((RESAMPLES, len(labels)), dtype=np.float32)
        for seed in dict.fromkeys(seeds):
            (members,) = np.nonzero(labels == seed)
            drawn = rng.integers(len(members), size=(RESAMPLES, len(members)))
            for row, numbers in zip(self.weights, drawn, strict=True):
                row[members] = np.bincount(numbers, minlength=len(members))

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
    resamples = Resamples([run.seed for run, _ in tests])
    return {
        "edits": count,
        "runs": len(pairs),
        "tested": len(tests),
        "tested_per_run": pairs[0][0].tested,
        "edited": _means(resamples, [test["edited"] for _, test in tests]),
        "unedited": _means(resamples, [test["unedited"] for _, test in tests]),
        "ages": _ages(count, tests),
        "cost": _cost([content["cost"] for run, content in pairs if run.chunk == 0]),
    }


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
        resamples = Resamples([run.seed for run, _ in group])
        rows = [{name: test["edited"].get(name) for name in AGE_METRICS} for _, test in group]
        entries.append(
            {
                "age": [count - 1 - last, count - 1 - first],
                "tested": len(group),
                "edited": _means(resamples, rows),
            }
        )
    return entries


def _cost(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The seeds' medians averaged, and the ratio of an edited to an unedited answer."""
    found: dict[str, Any] = {key: round(mean(cost[key] for cost in costs), 5) for key in SECONDS}
    # Seconds are kept to five decimals; an answer that took none of them would have no ratio.
    unedited = max(found["seconds_per_answer_unedited"], 1e-5)
    found["answer_ratio"] = round(found["seconds_per_answer_edited"] / unedited, 3)
    found["timed"] = sum(cost["timed"] for cost in costs)
    found["bytes"] = round(mean(cost["repository_bytes"] for cost in costs))
    return found
