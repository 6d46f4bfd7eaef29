"""The values that travel between the layers, and the kinds of error a person may meet.

Everything here is plain data: no model, no torch at import time beyond type checking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

# Of a prompt or an answer. Far above any limit in tokens: a tokenizer would take minutes over millions.
MAX_CHARACTERS = 4000


class LiveEditError(Exception):
    """An error a person can act on: one sentence, what is wrong and what to do."""


class WorldError(LiveEditError):
    """The emoji world was asked for something it cannot draw, or its assets are damaged."""


class DataError(LiveEditError):
    """A benchmark or data file is missing, damaged or incomplete."""


class BackboneError(LiveEditError):
    """A backbone cannot be loaded, or is of a kind that cannot be edited."""


class EditorError(LiveEditError):
    """An editor checkpoint is missing, damaged, or was trained for another backbone."""


class RepositoryError(LiveEditError):
    """A repository file is damaged or does not fit the editor, or an expert id is unknown."""


class InputError(LiveEditError):
    """What a person typed or uploaded cannot be used."""


class ConfigError(LiveEditError):
    """A configuration has an unknown key or an impossible value."""


@dataclass(frozen=True)
class Edit:
    """One correction: for this picture and prompt the model shall answer ``target``."""

    image: Image
    prompt: str
    target: str


@dataclass(frozen=True)
class Query:
    """One question. Without an image no expert can be routed: the answer is the unedited model's."""

    image: Image | None
    prompt: str


@dataclass(frozen=True)
class TokenSpans:
    """Where the parts of one encoded row lie, as half-open ranges of token positions.

    ``vision`` covers the image tokens, ``prompt`` the text from the end of the image to the end of
    the prompt, ``answer`` the tokens of the target (empty when there is none). Any of them may be
    empty; positions count from the first real (not padding) token of the row.
    """

    vision: tuple[int, int]
    prompt: tuple[int, int]
    answer: tuple[int, int]


@dataclass(slots=True)
class ExpertTrace:
    """What routing decided for one expert.

    ``visual_similarity``, ``threshold`` and ``margin`` belong to hard routing (Eq. 5),
    ``prompt_similarity``, ``absolute`` (sigmoid) and ``relative`` (softmax over the experts that
    passed) to soft routing (Eq. 7); ``weight`` is what multiplies the expert's residual (Eq. 6).
    """

    expert_id: str
    active: bool
    visual_similarity: float
    threshold: float
    margin: float
    passed: bool
    prompt_similarity: float
    absolute: float
    relative: float
    weight: float


class ExpertTraces(Sequence[ExpertTrace]):
    """The traces of a repository's experts, each made when it is looked at.

    An answer routes among a thousand experts and mostly nobody looks at one of them. ``columns`` are the
    fields of :class:`ExpertTrace` in their order, each as long as the repository: lists, or arrays of numbers.
    """

    def __init__(self, columns: Sequence[Sequence[Any] | np.ndarray]) -> None:
        self.columns = tuple(columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, index: int) -> ExpertTrace: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ExpertTrace]: ...

    def __getitem__(self, index: int | slice) -> ExpertTrace | Sequence[ExpertTrace]:
        if isinstance(index, slice):
            return ExpertTraces([column[index] for column in self.columns])
        row = (column[index] for column in self.columns)
        return ExpertTrace(*(value.item() if isinstance(value, np.generic) else value for value in row))

    def those_passed(self) -> list[ExpertTrace]:
        """The traces of the experts that passed hard routing, in the repository's order."""
        column = self.columns[[f.name for f in fields(ExpertTrace)].index("passed")]
        return [self[i] for i, passed in enumerate(column) if passed]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self.columns[0]))

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True)
class RoutingTrace:
    """Everything routing decided for one question, for *every* expert of the repository.

    ``routed`` is False when routing did not run at all (no image, no repository, no active
    expert); ``reason`` then says why in words.
    """

    experts: Sequence[ExpertTrace] = ()
    threshold: float = 0.0
    margin_shift: float = 0.0
    routed: bool = False
    reason: str = ""

    @property
    def passed(self) -> tuple[ExpertTrace, ...]:
        """The experts that passed hard routing, heaviest first."""
        # Of ten thousand experts a few pass: the traces of the others need not be made.
        if isinstance(self.experts, ExpertTraces):
            found = self.experts.those_passed()
        else:
            found = [e for e in self.experts if e.passed]
        return tuple(sorted(found, key=lambda e: -e.weight))

    def to_json(self) -> dict[str, Any]:
        """The one JSON form that the page, the command line and the tests read."""
        return {**vars(self), "experts": [asdict(e) for e in self.experts]}


@dataclass(frozen=True)
class Answer:
    """What the model said: the text, the generated token ids (without the stop token) and why."""

    text: str
    tokens: tuple[int, ...]
    trace: RoutingTrace = field(default_factory=RoutingTrace)


def one_or_many(value: Query | Sequence[Query]) -> tuple[list[Query], bool]:
    """Return the queries as a list, and whether a single one was given."""
    if isinstance(value, Query):
        return [value], True
    return list(value), False
