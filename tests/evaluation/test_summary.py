"""Means with bootstrap intervals, and values by age, against hand-made tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from liveedit.evaluation.plan import Run
from liveedit.evaluation.summary import Resamples, summarise


def test_resampling_stays_within_a_seed() -> None:
    # All of seed 0 is wrong and all of seed 1 is right: no resample within the seeds can change the mean.
    value = Resamples([0] * 30 + [1] * 10).interval([0.0] * 30 + [1.0] * 10, 100.0)
    assert value == {"mean": 25.0, "low": 25.0, "high": 25.0, "n": 40}


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    values = [float(number % 4 == 0) for number in range(400)]
    found = Resamples([0] * 400).interval(values, 100.0)
    assert found is not None
    half = 196 * np.sqrt(0.25 * 0.75 / 400)
    assert found["mean"] == 25.0
    assert found["low"] == pytest.approx(25 - half, abs=0.6)
    assert found["high"] == pytest.approx(25 + half, abs=0.6)


def test_a_sample_that_several_seeds_tested_is_drawn_once_for_all_of_them() -> None:
    # A hundred samples under four seeds each: four hundred tests that say no more than a hundred do.
    values = [float(sample % 4 == 0) for sample in range(100)]
    seeds, samples = [0] * 100 + [1] * 100 + [2] * 100 + [3] * 100, [*range(100)] * 4
    found = Resamples(seeds, samples).interval(values * 4, 100.0)
    assert found is not None
    half = 196 * np.sqrt(0.25 * 0.75 / 100)
    assert (found["mean"], found["n"]) == (25.0, 400)
    assert found["low"] == pytest.approx(25 - half, abs=1.5)
    assert found["high"] == pytest.approx(25 + half, abs=1.5)
    weights = Resamples(seeds, samples).weights
    assert (weights[:, :100] == weights[:, 300:]).all()
    assert (weights.sum(1) == 400).all()


def test_resamples_are_the_same_where_all_samples_are_distinct() -> None:
    seeds = [0] * 5 + [1] * 3
    assert (Resamples(seeds, [f"sample {n}" for n in range(8)]).weights == Resamples(seeds).weights).all()
    # A sample of both seeds is drawn among its like; the others stay within their seed.
    mixed = Resamples(seeds, ["a", "b", "c", "d", "e", "a", "b", "f"]).weights
    assert (mixed[:, [0, 1]] == mixed[:, [5, 6]]).all()
    assert (mixed[:, [0, 1]].sum(1) == 2).all() and (mixed[:, [2, 3, 4]].sum(1) == 3).all() and (mixed[:, 7] == 1).all()


def test_tests_that_name_their_sample_are_resampled_by_it() -> None:
    runs = [Run(50, seed, 0, 50) for seed in (0, 1)]
    contents = [content(run, lambda place: float(place % 2), COST) for run in runs]
    (apart,) = summarise(runs, contents)
    for found in contents:
        for number, test in enumerate(found["tests"]):
            test["sample"] = str(number)
    (together,) = summarise(runs, contents)
    assert apart["edited"]["rel"]["mean"] == together["edited"]["rel"]["mean"] == 50.0
    widths = [entry["edited"]["rel"]["high"] - entry["edited"]["rel"]["low"] for entry in (apart, together)]
    # Half as many samples: an interval wider by the root of two.
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(2), rel=0.15)


def test_what_was_not_measured_is_left_out() -> None:
    resamples = Resamples([0, 0, 1])
    assert resamples.interval([None, None, None]) is None
    found = resamples.interval([None, 2.0, 4.0])
    assert found is not None
    assert (found["mean"], found["n"]) == (3.0, 2)
    assert found["low"] >= 2.0
    assert found["high"] <= 4.0


def content(run: Run, rel_of_place: Any, cost: dict[str, Any] | None) -> dict[str, Any]:
    order = run.order()
    tests = []
    for sample in range(run.tested):
        place = order.index(sample)
        edited = {"rel": rel_of_place(place), "passed.all": 2.0}
        tests.append({"place": place, "edited": edited, "unedited": {"rel": float(place < 10)}})
    return {"tests": tests, "cost": cost}


COST = {
    "seconds_per_edit": 1.0, "seconds_per_answer_edited": 3.0, "seconds_per_answer_unedited": 2.0, "timed": 4,
    "repository_bytes": 100,
}  # fmt: skip


def test_ages_count_the_edits_that_came_later() -> None:
    # Only the newest 25 of 100 edits are remembered.
    runs = [Run(100, seed, 0, 100) for seed in (0, 1)]
    (entry,) = summarise(runs, [content(run, lambda place: float(place >= 75), COST) for run in runs])
    assert [age["age"] for age in entry["ages"]] == [[99 - 10 * i - 9, 99 - 10 * i] for i in range(10)]
    means = [age["edited"]["rel"]["mean"] for age in entry["ages"]]
    assert means == [0.0] * 7 + [50.0, 100.0, 100.0]
    assert all(age["tested"] == 20 for age in entry["ages"])
    # The floor of an age is that of the edits of this age: the oldest ten are right by themselves.
    assert [age["unedited"]["rel"]["mean"] for age in entry["ages"]] == [100.0] + [0.0] * 9
    assert entry["edited"]["rel"]["mean"] == 25.0
    assert entry["edited"]["passed.all"]["mean"] == 2.0
    assert (entry["edits"], entry["runs"], entry["tested"], entry["tested_per_run"]) == (100, 2, 200, 100)


def test_a_sample_of_a_long_run_meets_every_age() -> None:
    run = Run(1000, 0, 0, 50)
    (entry,) = summarise([run], [content(run, lambda place: float(place >= 500), COST)])
    assert [age["tested"] for age in entry["ages"]] == [5] * 10
    assert entry["edited"]["rel"]["mean"] == 50.0


def test_few_edits_have_as_many_ages_as_edits() -> None:
    runs = [Run(3, 0, 0, 3), Run(3, 0, 1, 3)]
    (entry,) = summarise(runs, [content(runs[0], float, COST), content(runs[1], float, None)])
    assert [age["age"] for age in entry["ages"]] == [[2, 2], [1, 1], [0, 0]]
    assert [age["edited"]["rel"]["mean"] for age in entry["ages"]] == [0.0, 100.0, 200.0]


def test_costs_are_averaged_over_the_seeds() -> None:
    runs = [Run(2, 0, 0, 2), Run(2, 1, 0, 2), Run(2, 1, 1, 2)]
    other = {**COST, "seconds_per_answer_edited": 5.0, "repository_bytes": 300}
    contents = [content(run, float, cost) for run, cost in zip(runs, (COST, other, None), strict=True)]
    (entry,) = summarise(runs, contents)
    assert entry["cost"] == {
        "seconds_per_edit": 1.0, "seconds_per_answer_edited": 4.0, "seconds_per_answer_unedited": 2.0,
        "answer_ratio": 2.0, "timed": 8, "bytes": 200,
    }  # fmt: skip


def test_the_parts_of_an_answer_have_ratios_where_all_seeds_timed_them() -> None:
    runs = [Run(2, seed, 0, 2) for seed in (0, 1)]
    parts = {
        "seconds_per_prefill_edited": 1.5, "seconds_per_prefill_unedited": 1.0,
        "seconds_per_decode_edited": 1.5, "seconds_per_decode_unedited": 0.0,
    }  # fmt: skip
    timed = {**COST, **parts}
    (entry,) = summarise(runs, [content(run, float, cost) for run, cost in zip(runs, (timed, timed), strict=True)])
    assert entry["cost"]["prefill_ratio"] == 1.5
    assert entry["cost"]["decode_ratio"] == 150_000.0
    assert entry["cost"]["seconds_per_decode_edited"] == 1.5
    (older,) = summarise(runs, [content(run, float, cost) for run, cost in zip(runs, (timed, COST), strict=True)])
    assert set(older["cost"]) == {*COST, "answer_ratio", "bytes"} - {"repository_bytes"}
