"""Which edits are applied and which are tested in a lifelong evaluation.

Each seed has one list of samples, the pool. A run of N edits takes a chunk of N samples from it; runs of one N are
disjoint. Of a long run only the chunk's first samples are tested: they are spread evenly over the order in which
the edits are applied, so that every age is met, and small and large runs test the same samples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from liveedit.evaluation.asking import BATCH, MAX_NEW_TOKENS, check_batch_size
from liveedit.types import InputError

STREAM = 3_000_010


@dataclass(frozen=True)
class LifelongOptions:
    """How much is measured.

    ``edits``: the numbers N of sequential edits. ``seeds``: each draws a pool of its own. ``tests_per_run``: the
    most edits of one run that are tested. ``least_tests``: small N are repeated on disjoint chunks until so many
    edits are tested. ``pool``: samples drawn for each seed (0: as many as needed); give the same to evaluations
    that shall meet the same samples. ``timed``: single edits and answers that are timed for each N and seed.
    ``batch_size``: questions asked at once, a matter of memory alone.
    """

    edits: tuple[int, ...] = (1, 10, 100, 1000, 10_000)
    seeds: tuple[int, ...] = (0, 1, 2)
    tests_per_run: int = 1000
    least_tests: int = 200
    pool: int = 0
    timed: int = 20
    max_new_tokens: int = MAX_NEW_TOKENS
    batch_size: int = BATCH

    def __post_init__(self) -> None:
        for name, values in (("edits", self.edits), ("seeds", self.seeds)):
            if not values:
                raise InputError(f"no {name} were given: give at least one number")
            if len(set(values)) != len(values):
                raise InputError(f"the {name} {', '.join(map(str, values))} name one twice: give each once")
        for count in self.edits:
            if count < 1:
                raise InputError(f"{count} edits were asked for: ask for at least 1")
        for seed in self.seeds:
            if seed < 0:
                raise InputError(f"the seed is {seed}: choose 0 or a larger number")
        for name in ("tests_per_run", "least_tests", "timed", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name.replace('_', ' ')} is {getattr(self, name)}: it must be at least 1")
        if self.pool < 0:
            raise InputError(f"the pool is {self.pool}: give a positive number, or 0 for as many as needed")
        check_batch_size(self.batch_size)

    def pool_of(self, size: int | None) -> int:
        """Samples to draw for each seed from a benchmark of ``size`` samples (None: no limit known)."""
        pool = self.pool or max(count * -(-self.least_tests // count) for count in self.edits)
        if size is not None and not self.pool:
            pool = min(pool, size)
        if size is not None and pool > size:
            raise InputError(f"a pool of {pool:,} samples was asked for, the benchmark has {size:,}: ask for fewer")
        if max(self.edits) > pool:
            where = "benchmark has" if not self.pool else "pool has"
            raise InputError(
                f"{max(self.edits):,} edits were asked for, the {where} {pool:,} samples: ask for {pool:,} edits or fewer"
            )
        return pool

    def chunks(self, count: int, pool: int) -> int:
        """How many disjoint runs of ``count`` edits a seed has."""
        return min(-(-self.least_tests // count), pool // count)

    def settings(self) -> dict[str, Any]:
        """All that decides what is measured, as JSON: an evaluation may be continued with another batch size."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        del values["batch_size"]
        return values


@dataclass(frozen=True)
class Run:
    """One run: ``edits`` samples of the pool, from number ``chunk * edits`` on, of which the first ``tested`` are tested."""

    edits: int
    seed: int
    chunk: int
    tested: int

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"n{self.edits}-seed{self.seed}-chunk{self.chunk}"

    @property
    def first(self) -> int:
        """The pool's number of its first sample."""
        return self.chunk * self.edits

    def order(self) -> list[int]:
        """The run's samples (0 to N - 1) in the order in which their edits are applied.

        All tested: as they stand. Otherwise the order is cut into as many parts as are tested, and each part
        gets one tested edit, at a place of its own that is drawn from the seed.
        """
        if self.tested == self.edits:
            return list(range(self.edits))
        rng = np.random.default_rng([self.seed, STREAM, self.edits, self.chunk])
        bounds = [part * self.edits // self.tested for part in range(self.tested + 1)]
        places = [int(rng.integers(low, high)) for low, high in pairwise(bounds)]
        order = [-1] * self.edits
        for place, sample in zip(places, rng.permutation(self.tested), strict=True):
            order[place] = int(sample)
        rest = iter(range(self.tested, self.edits))
        return [next(rest) if sample < 0 else sample for sample in order]


def runs_of(options: LifelongOptions, pool: int) -> list[Run]:
    """Every run, seed by seed, few edits first."""
    return [
        Run(count, seed, chunk, min(count, options.tests_per_run))
        for seed in options.seeds
        for count in sorted(options.edits)
        for chunk in range(options.chunks(count, pool))
    ]
