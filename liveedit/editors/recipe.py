"""RECIPE: retrieval-augmented continuous prompt learning, adapted to pictures.

Chen et al., EMNLP 2024, https://arxiv.org/abs/2405.03279. Each edit becomes a continuous prompt of a few vectors,
which stands before the words of the questions that are about it. A question finds its edit by learned keys; the
similarity to a learned knowledge sentinel is its threshold. Edits and questions are represented by the backbone's own
states of picture and words; a question's hold no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liveedit.backbones import Backbone
from liveedit.configs.recipe import RecipeConfig
from liveedit.editors.context import SoftPass
from liveedit.editors.folder import damaged, fingerprint_of, load_folder, save_folder
from liveedit.editors.memory import EditMemory, MemoryEditor
from liveedit.editors.pooled import check_layer, layer_states
from liveedit.editors.recipe_modules import (
    RecipeModules,
    edit_representation,
    ordered_answers,
    question_representation,
)
from liveedit.types import Edit, Query, RoutingTrace

NAME = "recipe"


def new_modules(backbone: Backbone, config: RecipeConfig) -> RecipeModules:
    """Untrained modules for a backbone."""
    table = backbone.model.get_input_embeddings().weight
    return RecipeModules(config, backbone.hidden_size, float(table.float().pow(2).mean().sqrt()))


class Recipe(MemoryEditor):
    """RECIPE over a frozen backbone."""

    def __init__(self, backbone: Backbone, config: RecipeConfig, modules: RecipeModules | None = None) -> None:
        super().__init__(backbone)
        check_layer(backbone, config.layer)
        self.config = replace(config, backbone=backbone.fingerprint)
        self.modules = (modules or new_modules(backbone, config)).to(backbone.device).float().eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, /) -> Recipe:
        """Load a trained editor from a folder."""
        config, tensors = load_folder(path, NAME, RecipeConfig, backbone)
        modules = new_modules(backbone, config)
        try:
            modules.load_state_dict(tensors)
        except RuntimeError as error:
            raise damaged(path, error) from error
        return cls(backbone, config, modules)

    def save_pretrained(self, path: str | Path) -> None:
        """Write configuration and weights to a folder."""
        save_folder(path, NAME, self.config, self.modules.state_dict())

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration and the trained weights."""
        return fingerprint_of(NAME, self.config, self.modules.state_dict())

    def remember(
        self, edits: Sequence[Edit], template: bool
    ) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """Keys and continuous prompts."""
        answers = [[*self.backbone.answer_ids(e.target, template), self.backbone.eos_id] for e in edits]
        batch = self.backbone.encode([e.image for e in edits], [e.prompt for e in edits], answers, template)
        hidden = layer_states(self.backbone, self.config.layer, batch)
        vision, prompt, answer = (batch.part(name) for name in ("vision", "prompt", "answer"))
        tokens = ordered_answers(self.backbone, batch, self.config.ordered_tokens)
        soft = self.modules.soft_prompts(edit_representation(hidden, vision, prompt, answer), tokens)
        keys = self.modules.keys(question_representation(hidden, vision, prompt))
        notes = [{"prompt": e.prompt, "target": e.target} for e in edits]
        return notes, {"keys": keys, "soft": soft}

    def compare(
        self, state: EditMemory, queries: Sequence[Query], template: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries against keys, and against the sentinel; they are made of picture and prompt alone."""
        batch = self.backbone.encode([q.image for q in queries], [q.prompt for q in queries], None, template)
        hidden = layer_states(self.backbone, self.config.layer, batch)
        represented = question_representation(hidden, batch.part("vision"), batch.part("prompt"))
        asked, threshold = self.modules.queries(represented)
        return self.modules.similarity(asked, state.tensors["keys"]), threshold

    def in_scope(
        self,
        state: EditMemory,
        rows: Sequence[int],
        queries: Sequence[Query],
        found: Sequence[Sequence[int]],
        traces: Sequence[RoutingTrace],
    ) -> SoftPass:
        """Each question behind the continuous prompt of its edit."""
        return SoftPass(rows, self.backbone, queries, traces, state.tensors["soft"][[i for i, in found]])
