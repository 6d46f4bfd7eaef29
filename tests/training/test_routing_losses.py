"""Which rows stand for an edit when routing is trained."""

from __future__ import annotations

import random

import pytest

from liveedit.training.routing_losses import SAME_ROW, stand_ins


@pytest.mark.parametrize("variants", [1, 2, 3])
def test_an_edit_is_matched_with_its_own_rows_and_mostly_with_another_one(variants: int) -> None:
    count = 4000
    edit_side, input_side = stand_ins(count, variants, random.Random(0))
    assert (edit_side % count).tolist() == (input_side % count).tolist() == list(range(count))
    one, other = edit_side // count, input_side // count
    assert set(one.tolist()) == set(other.tolist()) == set(range(variants))
    same = float((one == other).float().mean())
    assert same == pytest.approx(SAME_ROW if variants > 1 else 1.0, abs=0.02)
    pairs = {(int(a), int(b)) for a, b in zip(one, other, strict=True)}
    assert len(pairs) == variants**2
