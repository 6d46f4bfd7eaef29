"""SERAC: semi-parametric editing with a retrieval-augmented counterfactual model.

Mitchell et al., ICML 2022, https://arxiv.org/abs/2206.06520. Edits are kept in a memory. A scope classifier compares
a question with their prompts; one that is in scope is answered by a small counterfactual model, which reads the edit
and the question, all others by the original model. Both small models read text and no picture, as in the original.
They are trained here, over the backbone's token embeddings, in place of BERT and OPT-125M: the classifier from scratch,
the counterfactual model from scratch or from a copy of the language model's first layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liveedit.backbones import Backbone
from liveedit.configs.serac import SeracConfig
from liveedit.editors.context import PrefixedPass, read_texts
from liveedit.editors.folder import damaged, fingerprint_of, load_folder, save_folder
from liveedit.editors.memory import EditMemory, MemoryEditor
from liveedit.editors.pooled import encode_texts
from liveedit.editors.serac_modules import SeracModules, as_backbone
from liveedit.types import Edit, Query, RoutingTrace

NAME = "serac"


def prefix_of(backbone: Backbone, config: SeracConfig, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
    """The tokens of an edit before a question, as the counterfactual model reads them."""
    between = backbone.tokenizer(config.between, add_special_tokens=False)["input_ids"]
    return [*prompt, *answer, *(int(i) for i in between)]


class Serac(MemoryEditor):
    """SERAC over a frozen backbone."""

    def __init__(self, backbone: Backbone, config: SeracConfig, modules: SeracModules | None = None) -> None:
        super().__init__(backbone)
        self.config = replace(config, backbone=backbone.fingerprint)
        self.modules = (modules or SeracModules(backbone, config)).to(backbone.device).float()
        self.modules.eval().requires_grad_(False)
        self.counterfactual = as_backbone(backbone, self.modules.counterfactual)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, /) -> Serac:
        """Load a trained editor from a folder."""
        config, tensors = load_folder(path, NAME, SeracConfig, backbone)
        modules = SeracModules(backbone, config)
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

    def remember(self, edits: Sequence[Edit], template: bool) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """Each edit's tokens, and the classifier's vector of its prompt."""
        answers = [self.backbone.answer_ids(e.target, template) for e in edits]
        batch = self.backbone.encode([None] * len(edits), [e.prompt for e in edits], answers, template)
        notes = [
            {"prompt": e.prompt, "target": e.target, "prefix": prefix_of(self.backbone, self.config, prompt, answer)}
            for e, (prompt, answer) in zip(edits, read_texts(batch), strict=True)
        ]
        return notes, {"keys": self.modules.scope.vectors(encode_texts(self.backbone, [e.prompt for e in edits], template))}

    def compare(
        self, state: EditMemory, queries: Sequence[Query], template: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The question's text against the edits'."""
        scope = self.modules.scope
        asked = scope.vectors(encode_texts(self.backbone, [q.prompt for q in queries], template))
        return scope.similarity(asked, state.tensors["keys"]), scope.threshold.expand(len(queries))

    def in_scope(
        self,
        state: EditMemory,
        rows: Sequence[int],
        queries: Sequence[Query],
        found: Sequence[Sequence[int]],
        traces: Sequence[RoutingTrace],
    ) -> PrefixedPass:
        """The counterfactual model reads the edit and the question's words."""
        asked = [Query(None, q.prompt) for q in queries]
        return PrefixedPass(rows, self.counterfactual, asked, traces, [state.notes[i]["prefix"] for i, in found])
