"""Which rows stand for an edit when routing is trained, and which prompts each loss compares it with."""

from __future__ import annotations

import random

import pytest
import torch

from liveedit.config import EditorTrainingConfig
from liveedit.experts import similarity
from liveedit.training.crowd import FeatureMemory
from liveedit.training.editor_samples import UNRELATED, Pairs
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


def test_fewer_candidates_narrow_the_relative_loss_alone() -> None:
    """Both soft losses, worked out prompt by prompt: the absolute one meets the locality prompts either way."""
    random_ = torch.Generator().manual_seed(0)
    psi, prompt, visual, threshold = (torch.randn(8, 2, 6, generator=random_) for _ in range(4))
    contents = [frozenset({str(number)}) for number in range(8)]
    meanings = [(name,) for name in ("a", "b", "c", "b", "d", "e", "a", "f")]
    pairs = Pairs.of(contents[:4], contents[4:], meanings, torch.full((4,), UNRELATED))

    def figures(candidates: str) -> dict[str, float]:
        config = EditorTrainingConfig(relative_candidates=candidates)
        # One row an edit: it stands for itself on both sides.
        return routing_losses(
            config, FeatureMemory(0), pairs, visual, psi, visual, threshold, prompt, random.Random(0)
        )[1]

    found = similarity(prompt, psi).double()
    absolute, relative = [], {"2B": [], "B": []}
    for edit in range(4):
        others = [c for c in range(8) if meanings[c] != meanings[edit]]
        away = [torch.log1p(found[edit, c].exp()) for c in others]
        elsewhere = [torch.log1p(found[4 + edit, c].exp()) for c in range(4) if meanings[c] != meanings[4 + edit]]
        absolute.append(torch.log1p((-found[edit, edit]).exp()) + sum(away) / len(away) + sum(elsewhere) / len(elsewhere))
        for name, count in (("2B", 8), ("B", 4)):
            compared = found[edit, [edit, *(c for c in others if c < count)]]
            relative[name].append(compared.logsumexp(0) - found[edit, edit])
    for name in ("2B", "B"):
        assert figures(name)["absolute"] == pytest.approx(float(sum(absolute)) / 4, rel=1e-5)
        assert figures(name)["relative"] == pytest.approx(float(sum(relative[name])) / 4, rel=1e-5)
    assert figures("2B")["relative"] > figures("B")["relative"]
