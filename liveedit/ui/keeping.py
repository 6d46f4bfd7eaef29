"""Files a person takes home: their edits, the whole session, the trace of an answer. Read back safely.

The file of edits is the repository's own (safetensors, pictures included), which the command line reads as well. The
file of a session is a ZIP of it with the history and the picture; everything in it is checked like any upload.
"""

from __future__ import annotations

import json
import math
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL.Image import Image

from liveedit.data.archive import Archive
from liveedit.editors import LiveEdit
from liveedit.editors.comparison import Comparison
from liveedit.editors.streaming import Said
from liveedit.experts import ExpertRepository, Limits
from liveedit.pictures import read_picture
from liveedit.types import Answer, ExpertTrace, InputError, LiveEditError, RoutingTrace
from liveedit.ui import session as actions
from liveedit.ui.history import KEPT_EXPERTS, MOST, MOST_BYTES, Past, png_bytes
from liveedit.ui.pictures import data_uri
from liveedit.ui.scratch import named_only
from liveedit.ui.session import THUMBNAIL, Session
from liveedit.ui.spaces import on_gpu

FORMAT = "liveedit-session-1"
EDITS, TABLE, PICTURE = "edits.safetensors", "session.json", "picture.png"
MOST_TOKENS = 512
MOST_IDS = 100_000  # of all edits that the questions of a session met
MOST_TABLE = 4 * 2**20  # bytes; fifty questions take half a megabyte
MOST_FILE = 100  # megabytes of a file that the page takes
DAMAGED = "the session's file is damaged: choose another copy of it"


def edits_file(session: Session, path: Path) -> None:
    """Write the edits as one safetensors file."""
    session.repository.save(path)


def trace_file(session: Session) -> bytes:
    """The last question, both answers and everything routing decided, as JSON."""
    asked = session.asked
    if asked is None:
        raise InputError("there is no answer yet: ask a question first")
    edits = [
        {"id": e.id, "name": session.name(e.id), "prompt": e.edit.prompt, "target": e.edit.target, "active": e.active}
        for e in session.repository
    ]
    value = {
        "question": asked.query.prompt,
        "picture": asked.query.image is not None,
        "unedited": _said_to_json(asked.comparison.base),
        "edited": _said_to_json(asked.comparison.edited),
        "edits": edits,
        "trace": asked.trace.to_json(),
    }
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def session_file(session: Session, path: Path) -> None:
    """Write edits, history and picture as one ZIP, if it will be such as can be opened here again."""
    keys = list(dict.fromkeys(p.picture_key for p in session.history if p.picture))
    # The questions met much the same edits: each has their places in this list.
    ids = {expert_id: place for place, expert_id in enumerate(dict.fromkeys(i for p in session.history for i in p.ids or ()))}
    table = {
        "format": FORMAT,
        "names": session.names,
        "made": session.made,
        "forgotten": session.forgotten,
        "ids": list(ids),
        "history": [_past_to_json(p, keys, ids) for p in session.history],
    }
    pictures = {p.picture_key: p.picture for p in session.history if p.picture}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            edits_file(session, Path(folder) / EDITS)
            # Numbers and pictures hardly shrink; as it is, it can be no larger than the file around it.
            archive.write(Path(folder) / EDITS, EDITS, zipfile.ZIP_STORED)
        archive.writestr(TABLE, json.dumps(table, ensure_ascii=False))
        for number, key in enumerate(keys):
            archive.writestr(_asked_about(number), pictures[key] or b"", zipfile.ZIP_STORED)
        if session.picture is not None:
            archive.writestr(PICTURE, png_bytes(session.picture), zipfile.ZIP_STORED)
    size = path.stat().st_size
    if size > MOST_FILE * 2**20:
        raise InputError(
            f"the session would take {size >> 20} MB, and a file of {MOST_FILE} MB can be opened here: keep the edits alone, "
            "which the command line opens, or remove some of them first"
        )


@on_gpu("ask")
def restore(editor: LiveEdit, session: Session, path: str | Path, limits: Limits | None = None) -> Session:
    """The session with what a file holds: a file of edits adds to what there is, a session's file takes its place."""
    path = Path(path)
    if zipfile.is_zipfile(path):
        return _restored_session(editor, session, path, limits)
    found = _usable(editor, path, limits)
    changed = session.copy()
    added = changed.repository.extend(found)
    if not added:
        raise InputError("the file holds no edit that is not here already: choose another file")
    for expert_id in added:
        changed.made += 1
        changed.names[expert_id] = f"Edit {changed.made}"
        changed.thumbnails[expert_id] = data_uri(changed.repository.get(expert_id).edit.image, THUMBNAIL)
    changed.earlier = session.before(f"{_edits(len(added))} read from a file")
    return actions.again(editor, changed)


def _restored_session(editor: LiveEdit, session: Session, path: Path, limits: Limits | None) -> Session:
    with Archive(path) as archive:
        if EDITS not in archive.names or TABLE not in archive.names:
            raise InputError("this ZIP is no session's file: for many edits from a ZIP use the form for them")
        # Beside the upload, where it goes with the program, be it at its end or at its next start.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            copy = Path(folder) / EDITS
            archive.extract(EDITS, copy, MOST_FILE * 2**20)
            repository = _usable(editor, copy, limits)
        try:
            table = json.loads(archive.read(TABLE, MOST_TABLE))
            if table["format"] != FORMAT:
                raise ValueError("format")
            # Files of older versions have neither these ids nor the count of what was forgotten.
            ids = [str(i)[:64] for i in table.get("ids", [])[:MOST_IDS]]
            history = _history_from_json(table["history"][:MOST], archive, ids)
            forgotten = max(int(table.get("forgotten", 0)), 0) + len(table["history"]) - len(history)
            for past in history:
                editor.backbone.check_prompt(past.prompt)
            given: Mapping[str, Any] = table["names"]
            names = {e.id: str(given[e.id])[:40] for e in repository}
            made = max(int(table["made"]), len(repository))
        except LiveEditError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(DAMAGED) from error
        picture = read_picture(archive.read(PICTURE), PICTURE) if PICTURE in archive.names else None
    thumbnails = {e.id: data_uri(e.edit.image, THUMBNAIL) for e in repository}
    restored = Session(
        repository, names, thumbnails, made, None, picture, history=history, forgotten=forgotten,
        earlier=session.before("session read from a file", whole=True),
    )  # fmt: skip
    # The newest question stands open again, when it was about the picture that is.
    newest = history[0].query().image if history else None
    shown = bool(history) and (newest is None) == (picture is None)
    if shown and (newest is None or picture is None or newest.tobytes() == picture.tobytes()):
        return actions.reopen(editor, restored, 0)
    return restored


def _usable(editor: LiveEdit, path: Path, limits: Limits | None) -> ExpertRepository:
    """The edits of a file, which may have been made elsewhere, if their texts are such as can be typed here."""
    with named_only(path):
        repository = editor.load_state(path, limits)
    for expert in repository:
        editor.backbone.check_edit(expert.edit)
    return repository


def _asked_about(number: int) -> str:
    return f"history/{number}.png"


def _edits(count: int) -> str:
    return "1 edit" if count == 1 else f"{count} edits"


def _past_to_json(past: Past, keys: list[str], ids: Mapping[str, int]) -> dict[str, Any]:
    compared = past.comparison
    return {
        "prompt": past.prompt,
        "picture": keys.index(past.picture_key) if past.picture else None,
        "base": _said_to_json(compared.base),
        "edited": _said_to_json(compared.edited),
        "base_after": compared.base_after,
        "edited_before": compared.edited_before,
        "trace": past.trace.to_json(),
        "routed": compared.edited.answer.trace.routed,
        "reason": past.reason,
        "edits": past.edits,
        "ids": None if past.ids is None else [ids[i] for i in past.ids],
        "passed": past.passed,
    }


def _history_from_json(rows: Sequence[Mapping[str, Any]], archive: Archive, ids: list[str]) -> tuple[Past, ...]:
    """The questions; those about one picture share it, and so many are taken as the pictures leave room for."""
    history: list[Past] = []
    first: dict[int, Past] = {}
    size = 0
    for row in rows:
        number = None if row["picture"] is None else int(row["picture"])
        known = None if number is None else first.get(number)
        image: Image | None = None
        if number is not None and known is None:
            image = read_picture(archive.read(_asked_about(number)), _asked_about(number))
        past = _past_from_json(row, image, ids)
        if known is not None:
            past = replace(past, picture=known.picture, picture_key=known.picture_key, thumbnail=known.thumbnail)
        elif number is not None:
            first[number] = past
            size += len(past.picture or b"")
            if history and size > MOST_BYTES:
                break
        history.append(past)
    return tuple(history)


def _past_from_json(row: Mapping[str, Any], image: Image | None, ids: list[str]) -> Past:
    trace = _trace(row["trace"])
    routed = replace(trace, routed=bool(row["routed"]), reason=str(row["reason"])[:400])
    compared = Comparison(
        _said(row["base"], RoutingTrace()), _said(row["edited"], routed), _shares(row["base_after"]),
        _shares(row["edited_before"]),
    )  # fmt: skip
    if len(compared.base_tokens) > MOST_TOKENS or len(compared.edited_tokens) > MOST_TOKENS:
        raise ValueError("too many tokens")
    met = _met(row, trace, ids)
    passed = int(row.get("passed", len(trace.passed)))
    if passed < len(trace.passed) or (met is not None and passed > len(met)):
        raise ValueError("more passed than there were")
    prompt, reason, edits = str(row["prompt"])[:4000], str(row["reason"])[:400], str(row["edits"])[:64]
    return replace(Past.of(prompt, image, compared, trace, reason, edits, met), passed=passed)


def _met(row: Mapping[str, Any], trace: RoutingTrace, ids: list[str]) -> tuple[str, ...] | None:
    """The ids of the edits that a question was asked under; None in a file that has no more than its cut trace."""
    if "ids" in row:
        return None if row["ids"] is None else tuple(ids[place] for place in row["ids"][:MOST_IDS])
    return tuple(e.expert_id for e in trace.experts) if len(trace.experts) < KEPT_EXPERTS else None


def _said_to_json(said: Said) -> dict[str, Any]:
    return {
        "text": said.answer.text,
        "tokens": said.answer.tokens,
        "pieces": said.pieces,
        "probabilities": said.probabilities,
    }


def _said(row: Mapping[str, Any], trace: RoutingTrace) -> Said:
    tokens = tuple(int(t) for t in row["tokens"])
    pieces = tuple(str(p)[:200] for p in row["pieces"])
    said = Said(Answer(str(row["text"])[:4000], tokens, trace), pieces, _shares(row["probabilities"]))
    if not len(tokens) == len(pieces) == len(said.probabilities):
        raise ValueError("lengths")
    return said


def _shares(values: Any) -> tuple[float, ...]:
    found = tuple(float(v) for v in values)
    if not all(0 <= v <= 1 for v in found):
        raise ValueError("a probability outside 0 to 1")
    return found


def _trace(row: Mapping[str, Any]) -> RoutingTrace:
    experts = []
    for given in row["experts"][:MOST_TOKENS]:
        values: dict[str, Any] = {k: float(v) for k, v in given.items() if k not in ("expert_id", "active", "passed")}
        if not all(math.isfinite(v) for v in values.values()):
            raise ValueError("a number that is not finite")
        values |= {"active": bool(given["active"]), "passed": bool(given["passed"])}
        experts.append(ExpertTrace(expert_id=str(given["expert_id"])[:64], **values))
    return RoutingTrace(
        tuple(experts), float(row["threshold"]), float(row["margin_shift"]), bool(row["routed"]), str(row["reason"])[:400]
    )

