"""Metrics on plain values: texts, token ids and traces in, numbers in 0..1 out.

The paper's metric is the teacher-forced argmax compared token by token (arXiv 2411.15432, Section 5.1).
Teacher forcing flatters (arXiv 2502.11177), so the answers that the model writes freely are compared as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveedit.types import RoutingTrace

RESAMPLES = 1000


def normalised(text: str) -> str:
    """A text without surrounding space and case."""
    return text.strip().casefold()


def words_of(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.findall(r"\w+", text.casefold())


def exact_match(answer: str, target: str) -> float:
    """1 when the answer is the target, apart from case and surrounding space."""
    return float(normalised(answer) == normalised(target))


def contains(answer: str, target: str) -> float:
    """1 when the target's words stand in the answer one after another ("no" is not in "north")."""
    said, wanted = words_of(answer), words_of(target)
    if not wanted:
        return float(normalised(target) in normalised(answer))
    return float(any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1)))


def token_f1(answer: str, target: str) -> float:
    """Harmonic mean of precision and recall over words, as SQuAD counts it (arXiv 1606.05250)."""
    said, wanted = Counter(words_of(answer)), Counter(words_of(target))
    if not said or not wanted:
        return exact_match(answer, target)
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total())


def agreement(one: Sequence[int], other: Sequence[int]) -> float:
    """Share of positions at which two rows of token ids of one length agree."""
    if len(one) != len(other) or not one:
        raise ValueError("agreement needs two rows of one length that is not zero")
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


@dataclass(frozen=True)
class OwnExpert:
    """What routing did with the expert of the very edit that is tested.

    ``recall`` is 1 when it passed hard routing, ``precision`` its share of the experts that passed (None when
    none did), ``passed`` how many passed, ``heaviest`` 1 when none of them weighs more.
    """

    recall: float
    precision: float | None
    passed: int
    heaviest: float


def own_expert(trace: RoutingTrace, expert_id: str) -> OwnExpert:
    """Judge one question's routing by the edit it belongs to."""
    passed = trace.passed
    own = next((e for e in passed if e.expert_id == expert_id), None)
    precision = None if not passed else (0.0 if own is None else 1.0 / len(passed))
    heaviest = own is not None and own.weight >= max(e.weight for e in passed)
    return OwnExpert(float(own is not None), precision, len(passed), float(heaviest))


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def percent(values: Sequence[float]) -> float | None:
    """The mean of values in 0..1 in percent, to two decimals; None of nothing."""
    found = mean(values)
    return None if found is None else round(100.0 * found, 2)


def bootstrap_interval(values: Sequence[float] | NDArray[np.float64], seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean over 1,000 seeded resamples of the samples (Efron, 1979)."""
    sample = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng([seed, 3_000_007])
    # One resample at a time keeps memory small for thousands of samples.
    means = [sample[rng.integers(len(sample), size=len(sample))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
