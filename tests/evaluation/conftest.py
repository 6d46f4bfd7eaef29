"""An editor without a model, for the protocols: it knows its last edits by heart and forgets the older ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from liveedit.data import HardProbe, ImageSource, Sample
from liveedit.editors import LiveEdit, Prediction
from liveedit.evaluation.benchmarks import FileSource
from liveedit.types import Answer, Edit, ExpertTrace, Query, RoutingTrace


def key_of(query: Query | Edit) -> str:
    """Picture and prompt as one string."""
    picture = "" if query.image is None else hashlib.sha256(query.image.convert("RGB").tobytes()).hexdigest()
    return f"{query.prompt} {picture}"


@dataclass
class Memory:
    """Edits in their order, each by its key."""

    edits: list[list[str]] = field(default_factory=list)

    def nbytes(self) -> int:
        return 10 * len(self.edits)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.edits))


class Forgetful:
    """Says the target of the newest of its last ``span`` edits with the question's picture and prompt, else "old".

    With ``routes`` its traces name the remembered edit, as an editor that routes would.
    """

    def __init__(self, span: int, routes: bool = False, fingerprint: str = "forgetful") -> None:
        self.span, self.routes, self.fingerprint = span, routes, fingerprint
        self.backbone: Any = SimpleNamespace(fingerprint="no-backbone")
        self.applied: list[int] = []

    def empty(self) -> Memory:
        return Memory()

    def load_state(self, path: Path, /) -> Memory:
        return Memory(json.loads(path.read_text()))

    def edit(self, state: Memory, edits: Sequence[Edit], /, *, template: bool = True) -> list[str]:
        assert not template
        self.applied.append(len(edits))
        first = len(state.edits)
        state.edits += [[key_of(e), e.target] for e in edits]
        return [str(first + number) for number in range(len(edits))]

    def _find(self, state: Memory | None, query: Query) -> int | None:
        if state is None or query.image is None:
            return None
        key, oldest = key_of(query), max(0, len(state.edits) - self.span)
        return next((i for i in reversed(range(oldest, len(state.edits))) if state.edits[i][0] == key), None)

    def answer(self, state: Memory | None, query: Any, /, *, max_new_tokens: int = 32, template: bool = True) -> Any:
        assert not template
        if isinstance(query, Query):
            return self.answer(state, [query], max_new_tokens=max_new_tokens, template=False)[0]
        answers = []
        for q in query:
            found = self._find(state, q)
            traces = []
            if found is not None:
                traces = [ExpertTrace(str(found), True, 1, 0, 1, True, 0, 1, 1, 1.0)]
            trace = RoutingTrace(traces, routed=self.routes and state is not None)
            text = "old" if found is None or state is None else state.edits[found][1]
            answers.append(Answer(text, (), trace))
        return answers

    def predict(
        self, state: Memory | None, queries: Sequence[Query], targets: Sequence[str], /, *, template: bool = True
    ) -> list[Prediction]:
        assert not template
        found = []
        for query, target in zip(queries, targets, strict=True):
            said = self.answer(state, query, template=False).text
            wanted = tuple(map(ord, target))
            found.append(Prediction(wanted, wanted if said == target else (0,) * len(wanted)))
        return found


@pytest.fixture
def coloured() -> FileSource:
    """Forty edits of small pictures, each of a colour of its own."""

    def picture(*colour: int) -> ImageSource:
        return ImageSource(Image.new("RGB", (2, 2), colour))

    return FileSource(
        "coloured",
        [
            Sample(
                picture(number, 0, 0), picture(number, 1, 0), f"question {number}?", f"again {number}?", "true",
                f"new {number}", f"text {number}?", "true", picture(number, 0, 2), f"other {number}?", "true",
                (HardProbe("near_miss", picture(number, 0, 3), f"question {number}?", "true"),),
            )
            for number in range(40)
        ],
    )  # fmt: skip


@pytest.fixture
def forgetful() -> type[Forgetful]:
    """The class of the forgetful editor."""
    return Forgetful


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions LiveEdit was asked at once, call by call."""
    counts: list[int] = []

    def watch(name: str) -> None:
        call = getattr(LiveEdit, name)

        def watched(self: LiveEdit, state: Any, queries: Any, *given: Any, **options: Any) -> Any:
            counts.append(len(queries) if isinstance(queries, list) else 1)
            return call(self, state, queries, *given, **options)

        monkeypatch.setattr(LiveEdit, name, watched)

    watch("answer")
    watch("predict")
    return counts
