"""Untrained baseline editors over the lively backbone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from liveedit.backbones import Backbone
from liveedit.configs.lte import LteConfig
from liveedit.configs.recipe import RecipeConfig
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.configs.serac import SeracConfig
from liveedit.editors.lte import Lte
from liveedit.editors.memory import MemoryEditor
from liveedit.editors.recipe import Recipe
from liveedit.editors.retrieval import Retrieval
from liveedit.editors.serac import Serac


def _retrieval(backbone: Backbone) -> MemoryEditor:
    editor = Retrieval(backbone, RetrievalConfig(layer=1))
    editor.matcher.limit.fill_(-10.0)
    return editor


def _recipe(backbone: Backbone) -> MemoryEditor:
    editor = Recipe(backbone, RecipeConfig(layer=1, width=32, key_width=16, ordered_tokens=4))
    # A question's own edit is as near as can be; strong prompts, so that they change what is said.
    editor.modules.sentinel.mul_(0.0)
    editor.modules.key.first.bias.zero_()
    editor.modules.scale.fill_(1.0)
    return editor


def _lte(backbone: Backbone) -> MemoryEditor:
    editor = Lte(backbone, LteConfig(rank=4, retriever_layers=1, retriever_width=16, head_width=8))
    editor.modules.retriever.limit.fill_(-10.0)
    for change in editor.modules.changes:
        change.up.normal_(std=0.1)
    return editor


def _serac(backbone: Backbone) -> MemoryEditor:
    editor = Serac(backbone, SeracConfig(1, 32, 2, 32, head_width=16))
    editor.modules.scope.limit.fill_(-10.0)
    return editor


@pytest.fixture
def memory_editor(lively_backbone: Backbone) -> Callable[[str], MemoryEditor]:
    """Makes an editor of a name: small, untrained, and with everything in scope."""
    kinds = {"retrieval": _retrieval, "recipe": _recipe, "lte": _lte, "serac": _serac}

    def make(name: str) -> MemoryEditor:
        torch.manual_seed(0)
        return kinds[name](lively_backbone)

    return make
