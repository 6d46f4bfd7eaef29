"""Every baseline editor on every architecture: an edit acts, is answered with, and is undone bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, save
from PIL import Image

from liveedit.backbones import Backbone, load_backbone
from liveedit.configs.ft import FineTuningConfig
from liveedit.configs.lemoe import LemoeConfig
from liveedit.configs.lte import LteConfig
from liveedit.configs.mend import MendConfig
from liveedit.configs.recipe import RecipeConfig
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.configs.serac import SeracConfig
from liveedit.configs.tp import PatcherConfig
from liveedit.editors import EDITORS
from liveedit.editors.fine_tuning import FineTuneLanguage, FineTuneModality
from liveedit.editors.lemoe import Lemoe
from liveedit.editors.lte import Lte
from liveedit.editors.mend import Mend
from liveedit.editors.patcher import TransformerPatcher
from liveedit.editors.recipe import Recipe
from liveedit.editors.retrieval import Retrieval
from liveedit.editors.serac import Serac
from liveedit.types import Edit, Query


def _lte(backbone: Backbone) -> Lte:
    editor = Lte(backbone, LteConfig(rank=2, retriever_layers=1, retriever_width=16, head_width=8))
    editor.modules.retriever.limit.fill_(-10.0)
    for change in editor.modules.changes:
        change.up.normal_(std=0.1)
    return editor


def _recipe(backbone: Backbone) -> Recipe:
    editor = Recipe(backbone, RecipeConfig(layer=2, width=16, key_width=8, ordered_tokens=2))
    # A question is as near as can be to the edit that asks the same, and farther from this sentinel.
    editor.modules.sentinel.fill_(0.0)
    editor.modules.scale.fill_(1.0)
    return editor


def _retrieval(backbone: Backbone) -> Retrieval:
    editor = Retrieval(backbone, RetrievalConfig(layer=2))
    editor.matcher.limit.fill_(-10.0)
    return editor


def _serac(answer_width: int) -> Callable[[Backbone], Serac]:
    def make(backbone: Backbone) -> Serac:
        editor = Serac(backbone, SeracConfig(1, 16, 2, answer_width, head_width=16))
        editor.modules.scope.limit.fill_(-10.0)
        return editor

    return make


# As little work as shows an effect; with a memory, an edit's own question is in its scope.
MAKERS: dict[str, Callable[[Backbone], Any]] = {
    "ft-l": lambda b: FineTuneLanguage(b, FineTuningConfig(iterations=2, learning_rate=1e-2)),
    "ft-m": lambda b: FineTuneModality(b, FineTuningConfig(iterations=2, learning_rate=1e-2)),
    "lemoe": lambda b: Lemoe(b, LemoeConfig(layer=3, expert_width=8, steps=2, learning_rate=1e-2)),
    "lte": _lte,
    "mend": lambda b: Mend(b, MendConfig(layers=2, rank=4, initial_rate=0.1, backbone=b.fingerprint)),
    "recipe": _recipe,
    "retrieval": _retrieval,
    "serac": _serac(32),
    "serac, begun as a copy": _serac(0),
    "tp": lambda b: TransformerPatcher(b, PatcherConfig(iterations=2, memory=2)),
}


def blocks(seed: int, width: int, height: int) -> Image.Image:
    """A picture of coloured blocks."""
    cells = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.NEAREST)


EDITS = [
    Edit(blocks(0, 40, 40), "What is it?", "snow leopard"),
    Edit(blocks(1, 96, 32), "Which animal can be seen in this picture?", "teapot"),
]
QUERIES = [Query(EDITS[0].image, EDITS[0].prompt), Query(EDITS[1].image, "How many?"), Query(None, "What is it?")]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    loaded = load_backbone(save(request.param, tmp_path_factory.mktemp(request.param)), "cpu")
    # Transformers puts hooks of its own on a model that runs for the first time.
    EDITORS["unedited"].from_pretrained("", loaded).answer(None, QUERIES, max_new_tokens=1)
    return loaded


@torch.no_grad()
def logits_of(editor: Any, state: Any) -> dict[int, torch.Tensor]:
    """What each query's first token is chosen by, of every query by its place."""
    found = {}
    for part in editor.passes(state, QUERIES, True):
        batch = part.encode(None, True)
        with part.acting(batch):
            logits = part.backbone.forward(batch, use_cache=False).logits[:, -1]
        found.update(zip(part.rows, logits, strict=True))
    return found


def kept(backbone: Backbone) -> tuple[dict[str, torch.Tensor], int]:
    """The model's weights and buffers, and the number of hooks on it."""
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.model.modules())
    return {name: value.clone() for name, value in backbone.model.state_dict().items()}, hooks


def test_every_baseline_is_made_here() -> None:
    assert {name.partition(",")[0] for name in MAKERS} == set(EDITORS) - {"liveedit", "unedited"}


@pytest.mark.parametrize("name", MAKERS)
def test_an_edit_acts_and_is_undone_bit_for_bit(name: str, backbone: Backbone, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, hooks = kept(backbone)
    editor = MAKERS[name](backbone)
    before, state = logits_of(editor, None), editor.empty()
    assert all(torch.equal(before[row], logits) for row, logits in logits_of(editor, state).items())
    assert len(editor.edit(state, EDITS)) == 2
    after = logits_of(editor, state)
    assert not torch.equal(after[0], before[0])
    for row, answer in enumerate(editor.answer(state, QUERIES, max_new_tokens=2)):
        first = int(after[row].argmax())
        assert answer.tokens[:1] == (() if first in backbone.stop_ids else (first,))
    targets = ["snow leopard", "seven", "Lima"]
    assert [len(p.predicted) for p in editor.predict(state, QUERIES, targets)] == [
        len(backbone.answer_ids(target)) for target in targets
    ]
    state.save(tmp_path / "state")
    again = logits_of(editor, editor.load_state(tmp_path / "state"))
    assert all(torch.equal(after[row], logits) for row, logits in again.items())
    undone = logits_of(editor, None)
    assert all(torch.equal(before[row], logits) for row, logits in undone.items())
    left, hooks_left = kept(backbone)
    assert hooks_left == hooks and all(torch.equal(value, left[key]) for key, value in weights.items())
