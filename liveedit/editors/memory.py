"""Editors that keep edits in a memory and look up, for each question, the edit that it is about, or the few nearest.

Questions that are about none of them are answered by the unedited model, in passes of their own.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from liveedit.backbones import Backbone
from liveedit.editors.grouped import GroupedEditor, Pass, alike, one_model
from liveedit.editors.state_file import load_tensors, save_tensors
from liveedit.types import Edit, ExpertTraces, Query, RepositoryError, RoutingTrace

NO_EDITS = "There are no edits, so the answer is the unedited model's."
EDITS_AT_ONCE = 32
UNMATCHED = -1e4  # the similarity of a question that cannot be compared


@dataclass
class EditMemory:
    """Edits in their order: a row of notes each, and tensors whose first axis are the edits.

    ``owner`` is the fingerprint of the editor that made them.
    """

    owner: str
    notes: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.notes)

    @property
    def ids(self) -> list[str]:
        """The edits' ids: their numbers, from 1."""
        return [str(number + 1) for number in range(len(self))]

    def add(self, notes: Sequence[dict[str, Any]], tensors: dict[str, torch.Tensor]) -> list[str]:
        """Append edits; returns their ids."""
        for name, rows in tensors.items():
            before = self.tensors.get(name)
            self.tensors[name] = rows if before is None else torch.cat([before, rows])
        self.notes += notes
        return self.ids[len(self) - len(notes) :]

    def nbytes(self) -> int:
        """Bytes of the tensors, and of the notes as text."""
        written = sum(len(json.dumps(row, ensure_ascii=False).encode()) for row in self.notes)
        return written + sum(t.numel() * t.element_size() for t in self.tensors.values())

    def save(self, path: Path) -> None:
        """Write the memory to one file."""
        save_tensors(path, self.owner, self.tensors, {"edits": self.notes})


class MemoryEditor(GroupedEditor[EditMemory]):
    """What the editors with a memory share; each says what it remembers, compares, and does with what it finds."""

    retrieved: int = 1  # how many of the nearest edits a question may run with

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A short name of the configuration and the trained weights."""

    @abstractmethod
    def remember(
        self, edits: Sequence[Edit], template: bool
    ) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """Notes and tensors of some edits."""

    @abstractmethod
    def compare(
        self, state: EditMemory, queries: Sequence[Query], template: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Similarities [Q, N] of questions (all with a picture, or none) to the edits, and thresholds [Q]."""

    @abstractmethod
    def in_scope(
        self,
        state: EditMemory,
        rows: Sequence[int],
        queries: Sequence[Query],
        found: Sequence[Sequence[int]],
        traces: Sequence[RoutingTrace],
    ) -> Pass:
        """How ``queries``, at the places ``rows`` of those asked, run with the edits found for each, the nearest first."""

    def empty(self) -> EditMemory:
        """A memory without edits."""
        return EditMemory(self.fingerprint)

    def load_state(self, path: Path, /) -> EditMemory:
        """Read a memory that an editor of this configuration and training saved."""
        owner = self.fingerprint
        tensors, notes = load_tensors(path, owner, self.backbone.device)
        edits = notes.get("edits")
        if not isinstance(edits, list) or any(len(t) != len(edits) for t in tensors.values()):
            raise RepositoryError(f"the file of edits {path} is damaged: delete it")
        return EditMemory(owner, edits, tensors)

    @torch.no_grad()
    def edit(self, state: EditMemory, edits: Sequence[Edit], /, *, template: bool = True) -> list[str]:
        """Remember edits, batched; returns their ids."""
        self.check_edits(edits)
        ids: list[str] = []
        for start in range(0, len(edits), EDITS_AT_ONCE):
            ids += state.add(*self.remember(edits[start : start + EDITS_AT_ONCE], template))
        return ids

    @torch.no_grad()
    def passes(self, state: EditMemory | None, queries: Sequence[Query], template: bool) -> list[Pass]:
        """Questions about an edit run with it, all others on the unedited model."""
        if state is None or not len(state):
            return one_model(self.backbone, queries, RoutingTrace(reason=NO_EDITS))
        traces: dict[int, RoutingTrace] = {}
        found: dict[int, list[int]] = {}
        for rows in alike(queries):
            similarity, threshold = self.compare(state, [queries[i] for i in rows], template)
            # Of equals the newest counts: a later edit replaces an earlier one of the same question.
            order = similarity.flip(1).argsort(dim=1, descending=True, stable=True)[:, : self.retrieved]
            nearest = similarity.shape[1] - 1 - order
            for row, values, limit, places in zip(rows, similarity, threshold.tolist(), nearest.tolist(), strict=True):
                near = [place for place in places if float(values[place]) > limit]
                traces[row] = _trace(state.ids, values.tolist(), limit, near)
                if near:
                    found[row] = near
        passes = []
        for rows in alike(queries):
            left = [i for i in rows if i not in found]
            if left:
                passes.append(Pass(left, self.backbone, [queries[i] for i in left], [traces[i] for i in left]))
            inside = [i for i in rows if i in found]
            if inside:
                asked, places = [queries[i] for i in inside], [found[i] for i in inside]
                passes.append(self.in_scope(state, inside, asked, places, [traces[i] for i in inside]))
        return passes


def _trace(ids: Sequence[str], similarity: Sequence[float], threshold: float, near: Sequence[int]) -> RoutingTrace:
    """The edits at the places ``near`` pass, each with full weight."""
    none = [0.0] * len(ids)
    passed = [place in near for place in range(len(ids))]
    weight = [float(p) for p in passed]
    columns = (
        ids, [True] * len(ids), similarity, [threshold] * len(ids), [s - threshold for s in similarity], passed,
        none, weight, weight, weight,
    )  # fmt: skip
    return RoutingTrace(ExpertTraces(columns), threshold, 0.0, True, "")
