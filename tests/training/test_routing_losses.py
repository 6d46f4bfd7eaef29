"""Which rows stand for an edit when routing is trained, and which edits are its rivals."""

from __future__ import annotations

import random

import pytest
import torch

from liveedit.config import EditorTrainingConfig
from liveedit.training.crowd import FeatureMemory
from liveedit.training.editor_samples import SAME_PICTURE, UNRELATED, Pairs
from liveedit.training.routing_losses import SAME_ROW, routing_losses, stand_ins


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


FOX, FOX_AND_CAT, CAT_AND_FOX, TREE = (frozenset(names.split()) for names in ("fox", "fox cat", "cat fox", "tree"))


def hard_loss_beside(remembered: frozenset[str], likeness: float) -> float:
    """The hard-routing loss of an edit of a fox and a cat while a remembered edit's feature is so like its own."""
    kinds = torch.tensor([SAME_PICTURE, UNRELATED])
    pairs = Pairs.of([FOX_AND_CAT, TREE], [FOX_AND_CAT, FOX], [("a",), ("b",), ("c",), ("d",)], kinds)
    memory = FeatureMemory(4)
    own = torch.eye(4)[:2, None, :].repeat(2, 1, 1)  # [2 rows of 2 edits, k = 1, d_m]
    memory.add(likeness * own[:1], [remembered])
    threshold = torch.zeros(4, 1, 4)
    _, seen = routing_losses(
        EditorTrainingConfig(), memory, pairs, own, own, own, threshold, own, random.Random(0)
    )
    return seen["hard"]


def test_edits_of_pictures_that_share_some_things_are_rivals() -> None:
    for other in (FOX, TREE, FOX | TREE):
        assert hard_loss_beside(other, 5.0) > hard_loss_beside(other, -5.0) + 0.5
    assert hard_loss_beside(CAT_AND_FOX, 5.0) == hard_loss_beside(CAT_AND_FOX, -5.0)
