"""LTE, learning to edit: a language model tuned to obey an edit that stands before the question.

Jiang et al., ACL 2024, https://arxiv.org/abs/2402.11905, adapted to pictures: the prefix "[Updated Information] edit
[Query]" stands between the picture and the question. Edits are text and are found by the similarity of texts, by a
small encoder that is trained with the rest in place of the original's sentence encoder. As published, the tuned model
answers every question behind the three nearest edits; with a ``threshold`` it answers only where an edit is near enough,
and the original model elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liveedit.backbones import Backbone
from liveedit.configs.lte import LteConfig
from liveedit.editors.context import PrefixedPass, read_texts
from liveedit.editors.folder import damaged, fingerprint_of, load_folder, save_folder
from liveedit.editors.memory import EditMemory, MemoryEditor
from liveedit.editors.pooled import encode_texts
from liveedit.editors.text_scope import TextScope
from liveedit.editors.tuned import changed_language_model
from liveedit.types import Edit, Query, RoutingTrace

NAME = "lte"
BETWEEN = "\n"  # words between several edits
FAR = -1e4  # a threshold that every edit is nearer than


class LteModules(nn.Module):
    """What LTE trains: the changes to the language model, and the retriever."""

    def __init__(self, changes: nn.ModuleList, retriever: TextScope) -> None:
        super().__init__()
        self.changes = changes
        self.retriever = retriever


def new_modules(backbone: Backbone, config: LteConfig) -> tuple[Backbone, LteModules]:
    """The tuned model and untrained modules for a backbone."""
    tuned, changes = changed_language_model(backbone, config.rank)
    retriever = TextScope(backbone, config.retriever_width, config.retriever_layers, config.head_width)
    return tuned, LteModules(changes, retriever).to(backbone.device)


def prefix_of(backbone: Backbone, config: LteConfig, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
    """The tokens of an edit before a question: its prompt and its answer as the model reads them."""
    before, after = (_tokens(backbone, text) for text in (config.before, config.after))
    return [*before, *prompt, *answer, *after]


def joined(backbone: Backbone, config: LteConfig, prefixes: Sequence[Sequence[int]]) -> list[int]:
    """One prefix that holds the edits of several, in their order."""
    before, between, after = (_tokens(backbone, text) for text in (config.before, BETWEEN, config.after))
    edits = [token for p in prefixes for token in (*between, *p[len(before) : len(p) - len(after)])]
    return [*before, *edits[len(between) :], *after]


def _tokens(backbone: Backbone, text: str) -> list[int]:
    return [int(i) for i in backbone.tokenizer(text, add_special_tokens=False)["input_ids"]]


class Lte(MemoryEditor):
    """LTE over a frozen backbone."""

    def __init__(self, backbone: Backbone, config: LteConfig, model: tuple[Backbone, LteModules] | None = None) -> None:
        super().__init__(backbone)
        self.config = replace(config, backbone=backbone.fingerprint)
        self.retrieved = config.retrieved
        self.tuned, modules = model or new_modules(backbone, config)
        self.modules = modules.float().eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, /) -> Lte:
        """Load a trained editor from a folder."""
        config, tensors = load_folder(path, NAME, LteConfig, backbone)
        tuned, modules = new_modules(backbone, config)
        try:
            modules.load_state_dict(tensors)
        except RuntimeError as error:
            raise damaged(path, error) from error
        return cls(backbone, config, (tuned, modules))

    def save_pretrained(self, path: str | Path) -> None:
        """Write configuration and weights to a folder."""
        save_folder(path, NAME, self.config, self.modules.state_dict())

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration and the trained weights."""
        return fingerprint_of(NAME, self.config, self.modules.state_dict())

    def texts(self, prompts: Sequence[str], template: bool) -> torch.Tensor:
        """The retriever's vectors [B, width] of prompts."""
        return self.modules.retriever.vectors(encode_texts(self.backbone, prompts, template))

    def remember(
        self, edits: Sequence[Edit], template: bool
    ) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """Each edit's prefix, and the retriever's vector of its prompt."""
        answers = [self.backbone.answer_ids(e.target, template) for e in edits]
        batch = self.backbone.encode([e.image for e in edits], [e.prompt for e in edits], answers, template)
        notes = [
            {"prompt": e.prompt, "target": e.target, "prefix": prefix_of(self.backbone, self.config, prompt, answer)}
            for e, (prompt, answer) in zip(edits, read_texts(batch), strict=True)
        ]
        return notes, {"keys": self.texts([e.prompt for e in edits], template)}

    def compare(
        self, state: EditMemory, queries: Sequence[Query], template: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Texts against texts; pictures are not looked at."""
        asked = self.texts([q.prompt for q in queries], template)
        retriever = self.modules.retriever
        threshold = retriever.threshold if self.config.threshold else asked.new_tensor(FAR)
        return retriever.similarity(asked, state.tensors["keys"]), threshold.expand(len(queries))

    def in_scope(
        self,
        state: EditMemory,
        rows: Sequence[int],
        queries: Sequence[Query],
        found: Sequence[Sequence[int]],
        traces: Sequence[RoutingTrace],
    ) -> PrefixedPass:
        """The tuned model reads each question behind its edits."""
        prefixes = [joined(self.backbone, self.config, [state.notes[i]["prefix"] for i in places]) for places in found]
        return PrefixedPass(rows, self.tuned, queries, traces, prefixes)
