"""Which edits are applied and tested: disjoint chunks, tested edits spread over all ages, refusals."""

from __future__ import annotations

import itertools

import pytest

from liveedit.evaluation.plan import LifelongOptions, Run, runs_of
from liveedit.types import InputError


def test_runs_of_one_number_of_edits_are_disjoint() -> None:
    options = LifelongOptions((1, 10, 25), (0, 7), tests_per_run=20, least_tests=40)
    pool = options.pool_of(None)
    assert pool == 50
    runs = runs_of(options, pool)
    assert [r for r in runs if r.seed == 0 and r.edits == 25] == [Run(25, 0, 0, 20), Run(25, 0, 1, 20)]
    for count, chunks in ((1, 40), (10, 4), (25, 2)):
        mine = [run for run in runs if run.edits == count and run.seed == 7]
        assert len(mine) == chunks
        taken = [run.first + i for run in mine for i in range(run.edits)]
        assert taken == list(range(len(taken)))
    assert len({run.name for run in runs}) == len(runs) == 2 * 46


def test_a_small_benchmark_has_fewer_runs() -> None:
    options = LifelongOptions((10,), (0,), least_tests=100)
    assert options.pool_of(35) == 35
    assert len(runs_of(options, 35)) == 3
    assert LifelongOptions((10,), (0,), pool=12).pool_of(35) == 12


def test_all_chunks_of_a_file_are_run_when_that_many_tests_are_asked_for() -> None:
    """The first chunk of a thousand has tests enough; a larger pool would add none."""
    options = LifelongOptions((10, 1000), (0,))
    assert options.pool_of(2093) == 1000
    assert runs_of(options, 1000) == runs_of(options, 2093)
    options = LifelongOptions((10, 1000), (0,), least_tests=2000)
    assert options.pool_of(2093) == 2000
    assert [r.first for r in runs_of(options, 2000) if r.edits == 1000] == [0, 1000]
    # More than the file has: every disjoint run that fits.
    options = LifelongOptions((10, 1000), (0,), least_tests=5000)
    runs = runs_of(options, options.pool_of(2093))
    assert [sum(r.edits == count for r in runs) for count in (10, 1000)] == [209, 2]


def test_every_edit_is_applied_once_in_its_place() -> None:
    assert Run(6, 0, 0, 6).order() == [0, 1, 2, 3, 4, 5]
    for run in (Run(103, 3, 0, 10), Run(10, 3, 1, 9), Run(5, 0, 0, 1)):
        order = run.order()
        assert sorted(order) == list(range(run.edits))
        assert order == run.order()
        # Each of the equal parts of the order holds exactly one tested edit.
        bounds = [part * run.edits // run.tested for part in range(run.tested + 1)]
        for low, high in itertools.pairwise(bounds):
            assert sum(sample < run.tested for sample in order[low:high]) == 1
    assert Run(103, 3, 0, 10).order() != Run(103, 4, 0, 10).order()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edits": (0,)}, "0 edits were asked for"),
        ({"edits": (-3, 1)}, "-3 edits were asked for"),
        ({"edits": ()}, "no edits were given"),
        ({"edits": (5, 5)}, "name one twice"),
        ({"seeds": (-1,)}, "the seed is -1"),
        ({"seeds": ()}, "no seeds were given"),
        ({"tests_per_run": 0}, "tests per run is 0"),
        ({"least_tests": 0}, "least tests is 0"),
        ({"timed": 0}, "timed is 0"),
        ({"pool": -1}, "the pool is -1"),
        ({"batch_size": 0}, "the batch size is 0: choose 1 to 64"),
        ({"batch_size": 65}, "the batch size is 65: choose 1 to 64"),
    ],
)
def test_impossible_amounts_are_refused(change: dict[str, tuple[int, ...] | int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        LifelongOptions(**{"edits": (5,), "seeds": (0,), **change})  # type: ignore[arg-type]


def test_more_edits_than_there_are_samples_are_refused() -> None:
    with pytest.raises(InputError, match="100 edits were asked for, the benchmark has 35 samples"):
        LifelongOptions((1, 100), (0,)).pool_of(35)
    with pytest.raises(InputError, match="100 edits were asked for, the pool has 50 samples"):
        LifelongOptions((1, 100), (0,), pool=50).pool_of(None)
    with pytest.raises(InputError, match="a pool of 50 samples was asked for, the benchmark has 35"):
        LifelongOptions((1,), (0,), pool=50).pool_of(35)
