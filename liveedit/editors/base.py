"""What every editor offers, LiveEdit and baselines alike: edit, answer, and teacher-forced prediction.

An editor is immutable; a person's edits live in a *state* that is passed in. What a state is belongs to the
editor: a repository of experts, changed weights, a memory of edits, soft prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

from liveedit.backbones import Backbone
from liveedit.types import Answer, Edit, Query


@dataclass(frozen=True)
class Prediction:
    """Teacher-forced prediction of one answer: its token ids, and the argmax before each of them.

    ``answer`` is what the model says to the question when it writes by itself, if that is known from the same
    pass: every argmax is the target's token and the next one is the stop token, so greedy generation takes the
    same path. Otherwise it is None, and the question has to be asked.
    """

    target: tuple[int, ...]
    predicted: tuple[int, ...]
    answer: Answer | None = None

    @property
    def agreement(self) -> float:
        """Share of the answer's tokens that the argmax meets (the paper's metric for one sample)."""
        hits = sum(a == b for a, b in zip(self.target, self.predicted, strict=True))
        return hits / len(self.target)


class EditState(Protocol):
    """What an editor keeps of one person's edits."""

    def nbytes(self) -> int:
        """Bytes of everything the edits have added to the unedited model; pictures kept to be shown do not count."""
        ...

    def save(self, path: Path) -> None:
        """Write the state to one file, so that :meth:`Editor.load_state` gives an equal one."""
        ...


StateT = TypeVar("StateT", bound=EditState)


class Editor(Protocol[StateT]):
    """An editor over a frozen backbone.

    Edits of one list, and of one call after another, are applied in their order. Without a state (None) the
    unedited model answers. An editor that routes says in each answer's trace which edits it used, by the ids
    that :meth:`edit` returned; one that does not leaves the trace empty.
    """

    backbone: Backbone

    @property
    def fingerprint(self) -> str:
        """A short name of everything that decides how this editor edits: kind, configuration, trained weights."""
        ...

    def empty(self) -> StateT:
        """A state without edits."""
        ...

    def load_state(self, path: Path, /) -> StateT:
        """Read a state that an editor of this configuration saved."""
        ...

    def edit(self, state: StateT, edits: Sequence[Edit], /, *, template: bool = True) -> list[str]:
        """Apply edits to ``state`` in their order; returns their ids."""
        ...

    @overload
    def answer(
        self, state: StateT | None, query: Query, /, *, max_new_tokens: int = 32, template: bool = True
    ) -> Answer: ...

    @overload
    def answer(
        self, state: StateT | None, query: Sequence[Query], /, *, max_new_tokens: int = 32, template: bool = True
    ) -> list[Answer]: ...

    def predict(
        self, state: StateT | None, queries: Sequence[Query], targets: Sequence[str], /, *, template: bool = True
    ) -> list[Prediction]:
        """Teacher-forced argmax on each target's tokens."""
        ...


class EditorKind(Protocol):
    """A class of editors, as the registry names it."""

    def from_pretrained(self, path: str | Path, backbone: Backbone, /) -> Editor[Any]:
        """The editor of a folder over ``backbone``; kinds that are not trained take an empty path."""
        ...
