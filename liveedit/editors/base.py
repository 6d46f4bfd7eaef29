"""What every editor offers: edit, answer, and teacher-forced prediction for the paper's metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from liveedit.backbones import Backbone
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Edit, Query


@dataclass(frozen=True)
class Prediction:
    """Teacher-forced prediction of one answer: its token ids, and the argmax before each of them."""

    target: tuple[int, ...]
    predicted: tuple[int, ...]

    @property
    def agreement(self) -> float:
        """Share of the answer's tokens that the argmax meets (the paper's metric for one sample)."""
        hits = sum(a == b for a, b in zip(self.target, self.predicted, strict=True))
        return hits / len(self.target)


class Editor(Protocol):
    """An editor over a frozen backbone; a person's edits live in the repository that is passed in."""

    backbone: Backbone

    def edit(self, repository: ExpertRepository, edits: Sequence[Edit], *, template: bool = True) -> list[str]:
        """Apply edits; returns their ids."""
        ...

    @overload
    def answer(
        self, repository: ExpertRepository | None, query: Query, *, max_new_tokens: int = 32, template: bool = True
    ) -> Answer: ...

    @overload
    def answer(
        self,
        repository: ExpertRepository | None | Sequence[ExpertRepository | None],
        query: Sequence[Query],
        *,
        max_new_tokens: int = 32,
        template: bool = True,
    ) -> list[Answer]: ...

    def predict(
        self,
        repository: ExpertRepository | None,
        queries: Sequence[Query],
        targets: Sequence[str],
        *,
        template: bool = True,
    ) -> list[Prediction]:
        """Teacher-forced argmax on each target's tokens."""
        ...
