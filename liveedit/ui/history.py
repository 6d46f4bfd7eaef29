"""The questions a person has asked, newest first, each as it was answered then; bounded in number and in bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from liveedit.editors.comparison import Comparison
from liveedit.editors.streaming import Said
from liveedit.experts import ExpertRepository
from liveedit.types import Query, RoutingTrace
from liveedit.ui.pictures import data_uri

MOST = 50
MOST_BYTES = 24_000_000
THUMBNAIL = 64
KEPT_EXPERTS = 20


@dataclass(frozen=True)
class Past:
    """One question with both answers as they were.

    ``picture`` is a PNG, shared among questions on the same picture, and ``picture_key`` tells pictures apart. The
    traces are cut to the experts that passed and the nearest that did not, :data:`KEPT_EXPERTS` at most; ``ids`` are
    those of all experts then (None where a file of an older version does not say), ``passed`` counts those of them that
    passed hard routing, and ``edits`` is a digest of the edits (:func:`edits_digest`).
    """

    prompt: str
    picture: bytes | None
    picture_key: str
    thumbnail: str
    comparison: Comparison
    trace: RoutingTrace
    reason: str
    edits: str
    ids: tuple[str, ...] | None
    passed: int

    @classmethod
    def of(
        cls,
        prompt: str,
        image: Image.Image | None,
        comparison: Comparison,
        trace: RoutingTrace,
        reason: str,
        edits: str,
        ids: tuple[str, ...] | None,
    ) -> Past:
        """A question with its picture stored and its traces cut."""
        picture = png_bytes(image) if image else None
        thumbnail = data_uri(image, THUMBNAIL) if image else ""
        short = replace(comparison, base=_shortened(comparison.base), edited=_shortened(comparison.edited))
        passed = len(trace.passed)
        return cls(prompt, picture, _key(image), thumbnail, short, shortened(trace), reason, edits, ids, passed)

    @property
    def key(self) -> str:
        """A short name of what was asked, on which picture and under which edits: the history holds it once."""
        return hashlib.sha256("\n".join((self.edits, self.picture_key, self.prompt)).encode()).hexdigest()[:16]

    def query(self) -> Query:
        """The question, with its picture opened."""
        if self.picture is None:
            return Query(None, self.prompt)
        with Image.open(io.BytesIO(self.picture), formats=["PNG"]) as image:
            return Query(image.convert("RGB"), self.prompt)


def edits_digest(repository: ExpertRepository) -> str:
    """A short name of which edits there are, which of them are on, and how strongly; their order does not count."""
    rows = sorted(f"{e.id} {e.active} {e.scale}" for e in repository)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def remember(
    history: Sequence[Past],
    query: Query,
    comparison: Comparison,
    trace: RoutingTrace,
    reason: str,
    repository: ExpertRepository,
) -> tuple[tuple[Past, ...], int]:
    """The history with one more question in front, and how many had to go for it.

    The same question under the same edits is kept once.
    """
    key, edits, ids = _key(query.image), edits_digest(repository), tuple(e.id for e in repository)
    known = next((p for p in history if p.picture_key == key), None)
    # Questions under the same edits share the list of them.
    ids = next((p.ids for p in history if p.ids and p.ids == ids), ids)
    past = Past.of(query.prompt, None if known else query.image, comparison, trace, reason, edits, ids)
    if known:
        past = replace(past, picture=known.picture, picture_key=key, thumbnail=known.thumbnail)
    others = [p for p in history if (p.prompt, p.picture_key, p.edits) != (past.prompt, key, edits)]
    kept, size, counted = [past], len(past.picture or b""), {key}
    for other in others:
        size += 0 if other.picture_key in counted else len(other.picture or b"")
        counted.add(other.picture_key)
        if len(kept) == MOST or size > MOST_BYTES:
            break
        kept.append(other)
    return tuple(kept), 1 + len(others) - len(kept)


def shortened(trace: RoutingTrace, known: Collection[str] | None = None) -> RoutingTrace:
    """A trace of the experts that passed and the nearest that did not; with ``known``, of these experts alone."""
    rows = [e for e in trace.experts if known is None or e.expert_id in known]
    rows.sort(key=lambda e: (not e.passed, -e.weight, -e.margin))
    return replace(trace, experts=tuple(rows[:KEPT_EXPERTS]))


def _shortened(said: Said) -> Said:
    return replace(said, answer=replace(said.answer, trace=shortened(said.answer.trace)))


def _key(image: Image.Image | None) -> str:
    if image is None:
        return ""
    return f"{image.size} {hashlib.sha256(image.tobytes()).hexdigest()}"


def png_bytes(image: Image.Image) -> bytes:
    """A picture as PNG, to the pixel."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
