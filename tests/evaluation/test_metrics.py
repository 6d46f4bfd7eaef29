"""Metrics, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from liveedit.evaluation.metrics import (
    agreement,
    bootstrap_interval,
    contains,
    exact_match,
    own_expert,
    percent,
    token_f1,
)
from liveedit.types import ExpertTrace, RoutingTrace


def test_exact_match_ignores_case_and_outer_space() -> None:
    assert exact_match(" Red Fox\n", "red fox") == 1.0
    assert exact_match("red foxes", "red fox") == 0.0


def test_contains_looks_for_whole_words_in_order() -> None:
    assert contains("It is a Red fox.", "red fox") == 1.0
    assert contains("a fox, red", "red fox") == 0.0
    assert contains("north", "no") == 0.0
    assert contains("really?!", "?!") == 1.0
    assert contains("", "fox") == 0.0


def test_token_f1_is_the_harmonic_mean() -> None:
    # Two shared words of three said and of four wanted: P = 2/3, R = 2/4, F1 = 4/7.
    assert token_f1("the red fox", "a red fox here") == pytest.approx(4 / 7)
    # A word said twice counts once when it is wanted once: P = 1/2, R = 1.
    assert token_f1("fox fox", "fox") == pytest.approx(2 / 3)
    assert token_f1("dog", "fox") == 0.0
    assert token_f1("", "fox") == 0.0
    assert token_f1("Fox!", "fox") == 1.0


def test_agreement_counts_equal_places() -> None:
    assert agreement((1, 2, 3, 4), (1, 9, 3, 9)) == 0.5
    with pytest.raises(ValueError, match="one length"):
        agreement((1,), (1, 2))
    with pytest.raises(ValueError, match="not zero"):
        agreement((), ())


def trace(*experts: tuple[str, bool, float]) -> RoutingTrace:
    rows = tuple(ExpertTrace(i, True, 0, 0, 0, passed, 0, 0, 0, weight) for i, passed, weight in experts)
    return RoutingTrace(rows, routed=True)


def test_own_expert_among_three_that_passed() -> None:
    found = own_expert(trace(("a", True, 0.2), ("b", True, 0.7), ("c", True, 0.1), ("d", False, 0.0)), "a")
    assert (found.recall, found.precision, found.passed, found.heaviest) == (1.0, 1 / 3, 3, 0.0)
    assert own_expert(trace(("a", True, 0.7), ("b", True, 0.2)), "a").heaviest == 1.0


def test_own_expert_that_did_not_pass() -> None:
    found = own_expert(trace(("a", False, 0.0), ("b", True, 0.7)), "a")
    assert (found.recall, found.precision, found.passed, found.heaviest) == (0.0, 0.0, 1, 0.0)
    nothing = own_expert(trace(("a", False, 0.0)), "a")
    assert (nothing.recall, nothing.precision, nothing.passed, nothing.heaviest) == (0.0, None, 0, 0.0)


def test_percent_rounds_and_knows_nothing() -> None:
    assert percent([1.0, 0.0, 0.0]) == 33.33
    assert percent([]) is None


def test_the_bootstrap_interval_is_seeded_and_near_the_theory() -> None:
    values = np.repeat([0.0, 1.0], 200)
    low, high = bootstrap_interval(values, 0)
    assert (low, high) == bootstrap_interval(values, 0)
    # The standard error of the mean is 0.5 / sqrt(400) = 0.025, so the interval is 0.5 -+ 0.049.
    assert low == pytest.approx(0.451, abs=0.012)
    assert high == pytest.approx(0.549, abs=0.012)
    assert bootstrap_interval([0.7, 0.7], 3) == pytest.approx((0.7, 0.7))
