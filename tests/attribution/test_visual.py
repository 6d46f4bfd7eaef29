"""Noise on the states of visual tokens: against plain loops, seeded, independent of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from liveedit.attribution import Instance, attribute
from liveedit.attribution.visual import window_masks, window_side
from liveedit.editors import LiveEdit

QUESTION = "What is in the picture?"


@pytest.mark.parametrize(("grid", "side"), [(24, 7), (8, 3), (16, 5), (4, 3), (3, 3), (2, 1), (1, 1), (27, 9)])
def test_the_window_scales_with_the_grid_and_is_odd(grid: int, side: int) -> None:
    assert window_side(grid) == side


def test_every_window_has_the_same_size_and_holds_its_position() -> None:
    masks = window_masks(8, 8)
    assert masks.sum(1).tolist() == [9] * 64
    assert masks.diagonal().all()
    assert masks[0].view(8, 8).nonzero().tolist() == [[r, c] for r in range(3) for c in range(3)]
    assert masks[3 * 8 + 4].view(8, 8).nonzero().tolist() == [[r, c] for r in (2, 3, 4) for c in (3, 4, 5)]
    # A window of a grid that is no square takes the same share of both sides.
    wide = window_masks(3, 24)
    assert wide.sum(1).tolist() == [21] * 72
    assert wide[24 + 12].view(3, 24).nonzero().tolist() == [[r, c] for r in range(3) for c in range(9, 16)]


def by_loops(editor: LiveEdit, image: Image.Image, side: str, seed: int) -> np.ndarray:
    """The definition, copy by copy: noise in one window of the visual states, CA_phi2 again, 1 - cos."""
    extractor = editor.modules.query_features if side == "query" else editor.modules.edit_features
    states = editor.layer_states([image], [QUESTION])[0]
    words = torch.ones(1, len(states.prompt), dtype=torch.bool)
    asked = extractor.attention_queries(states.prompt[None], words)
    clean = extractor.visual(asked, states.vision[None]).flatten().double().numpy()
    noise = torch.randn(10, *states.vision.shape, generator=torch.Generator().manual_seed(seed))
    scores = np.zeros((8, 8))
    for row in range(8):
        for column in range(8):
            r, c = min(max(row, 1), 6), min(max(column, 1), 6)
            inside = [8 * i + j for i in (r - 1, r, r + 1) for j in (c - 1, c, c + 1)]
            for draw in range(10):
                noisy = states.vision.clone()
                noisy[inside] += 0.7 * states.vision.std() * noise[draw, inside]
                phi = extractor.visual(asked, noisy[None]).flatten().double().numpy()
                scores[row, column] += (1 - phi @ clean / np.linalg.norm(phi) / np.linalg.norm(clean)) / 10
    return scores


@pytest.fixture
def editor(open_editor: LiveEdit) -> LiveEdit:
    return open_editor


@pytest.mark.parametrize("side", ["query", "edit"])
def test_the_batched_map_equals_the_definition(side: str, tiny_editor: LiveEdit, pictures: list[Image.Image]) -> None:
    (got,) = attribute(tiny_editor, [Instance(pictures[1], QUESTION, side)], seed=3)
    assert got.scores.shape == got.heatmap.shape == (8, 8)
    assert got.heatmap.dtype == np.float32
    assert (got.heatmap.min(), got.heatmap.max()) == (0.0, 1.0)
    assert got.value == pytest.approx(1.0, abs=1e-5)
    with torch.no_grad():
        expected = by_loops(tiny_editor, pictures[1], side, 3)
    assert np.allclose(got.scores, expected, atol=2e-2 * (expected.max() - expected.min()))


def test_same_seed_same_map_and_pictures_do_not_touch_each_other(editor: LiveEdit, pictures: list[Image.Image]) -> None:
    prompts = [QUESTION, "How many things can be counted in this picture?", "Where?"]
    sides = ["query", "edit", "query"]
    instances = [Instance(*row) for row in zip(pictures, prompts, sides, strict=False)]
    together = attribute(editor, instances, seed=1)
    again = attribute(editor, instances, seed=1)
    other = attribute(editor, instances, seed=2)
    for i in range(3):
        (alone,) = attribute(editor, [instances[i]], seed=1)
        assert np.array_equal(together[i].scores, again[i].scores)
        assert np.allclose(together[i].heatmap, alone.heatmap, atol=2e-2)
        assert not np.allclose(together[i].heatmap, other[i].heatmap, atol=2e-2)
    assert not np.allclose(together[0].heatmap, together[1].heatmap, atol=0.1)
