"""Multimodal retrieval: the nearest stored edit, by picture and prompt, is put before the question as text.

The simplest editor that can tell look-alike questions apart by their pictures: nothing of the model changes, and
nothing is learned but what is near enough. A question without a picture is about no edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liveedit.backbones import Backbone
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.editors.folder import damaged, fingerprint_of, load_folder, save_folder
from liveedit.editors.grouped import Pass
from liveedit.editors.memory import UNMATCHED, EditMemory, MemoryEditor
from liveedit.editors.pooled import Matcher, check_layer, layer_states, mean_over
from liveedit.types import Edit, Query, RoutingTrace

NAME = "retrieval"


class Retrieval(MemoryEditor):
    """Multimodal retrieval over a frozen backbone; ``matcher`` says what is near enough."""

    def __init__(self, backbone: Backbone, config: RetrievalConfig, matcher: Matcher | None = None) -> None:
        super().__init__(backbone)
        check_layer(backbone, config.layer)
        self.config = replace(config, backbone=backbone.fingerprint)
        matcher = matcher or Matcher(backbone.hidden_size)
        self.matcher = matcher.to(backbone.device).float().eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, /) -> Retrieval:
        """Load a calibrated editor from a folder."""
        config, tensors = load_folder(path, NAME, RetrievalConfig, backbone)
        matcher = Matcher(backbone.hidden_size)
        try:
            matcher.load_state_dict(tensors)
        except RuntimeError as error:
            raise damaged(path, error) from error
        return cls(backbone, config, matcher)

    def save_pretrained(self, path: str | Path) -> None:
        """Write configuration and calibration to a folder."""
        save_folder(path, NAME, self.config, self.matcher.state_dict())

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration and the calibration."""
        return fingerprint_of(NAME, self.config, self.matcher.state_dict())

    def features(self, queries: Sequence[Query], template: bool) -> torch.Tensor:
        """Features [B, 2, d] of pictures and prompts."""
        batch = self.backbone.encode([q.image for q in queries], [q.prompt for q in queries], None, template)
        hidden = layer_states(self.backbone, self.config.layer, batch)
        return self.matcher.features({part: mean_over(hidden, batch.part(part)) for part in self.matcher.parts})

    def remember(self, edits: Sequence[Edit], template: bool) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """Each edit's words, and the features of its picture and prompt."""
        notes = [{"prompt": e.prompt, "target": e.target} for e in edits]
        return notes, {"keys": self.features([Query(e.image, e.prompt) for e in edits], template)}

    def compare(
        self, state: EditMemory, queries: Sequence[Query], template: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and prompts against those of the edits."""
        threshold = self.matcher.threshold.expand(len(queries))
        if queries[0].image is None:
            return torch.full((len(queries), len(state)), UNMATCHED, device=threshold.device), threshold
        return self.matcher.similarity(self.features(queries, template), state.tensors["keys"]), threshold

    def in_scope(
        self,
        state: EditMemory,
        rows: Sequence[int],
        queries: Sequence[Query],
        found: Sequence[Sequence[int]],
        traces: Sequence[RoutingTrace],
    ) -> Pass:
        """The same model reads each question with its edit in words."""
        asked = [self.in_context(q, state.notes[i]) for q, (i,) in zip(queries, found, strict=True)]
        return Pass(rows, self.backbone, asked, traces)

    def in_context(self, query: Query, edit: dict[str, Any]) -> Query:
        """The question with an edit in words."""
        text = self.config.context.format(edit=edit["prompt"], answer=edit["target"].strip(), question=query.prompt)
        return Query(query.image if self.config.picture else None, text)
