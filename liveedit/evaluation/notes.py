"""What numbers mean, in sentences that go into results and under tables: first of all, which of them cannot be otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liveedit.editors import EDITORS, Editor
from liveedit.evaluation.portability import NOTE as PORTABILITY

_ROUTED = "100 by construction: without a picture nothing is routed, and the unedited model answers"
# By the names in the registry; the locality of every other editor is measured.
T_LOC = {
    "liveedit": _ROUTED,
    "retrieval": _ROUTED,
    "ft-m": "100 by construction: only the bridge from vision to language changes, and a question without a picture "
    "never meets it",
}
LIFELONG = {
    "locality": "agreement with the unedited model, whose own is 100 by definition",
    "intervals": "95 % bootstrap intervals over the tested edits, resampled within each seed; a sample that several "
    "seeds tested is drawn once for all of them",
    "false": "experts that pass on an unrelated picture that no edit was made on (its objects, "
    "in the order they stand in, are no edited picture's)",
    "cost": "an answer is its prefill (the question read, one token said) and the decoding of the further tokens",
    "port": PORTABILITY,
}


def t_loc_note(editor: Editor[Any]) -> str | None:
    """Why this editor's T-Loc cannot be other than 100; None where it could."""
    kinds: Mapping[str, Any] = EDITORS
    return next((note for name, note in T_LOC.items() if isinstance(editor, kinds[name])), None)


def lifelong_notes(name: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The notes on what a lifelong evaluation of the editor ``name`` holds."""
    held = {metric.partition(".")[0] for entry in entries for metric in entry["edited"]} | {"locality", "intervals", "cost"}
    t_loc = {"t_loc": T_LOC[name]} if name in T_LOC else {}
    return {**t_loc, **{key: note for key, note in LIFELONG.items() if key in held}}
