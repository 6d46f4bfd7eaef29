"""Editors: one protocol, one registry. A new editor is one file and one line in ``EDITORS``."""

from liveedit.editors.base import Editor, EditorKind, EditState, Prediction
from liveedit.editors.liveedit import LayerStates, LiveEdit, QueryFeatures
from liveedit.editors.unedited import Unedited

EDITORS: dict[str, EditorKind] = {
    "liveedit": LiveEdit,
    "unedited": Unedited,
}

__all__ = [
    "EDITORS",
    "EditState",
    "Editor",
    "EditorKind",
    "LayerStates",
    "LiveEdit",
    "Prediction",
    "QueryFeatures",
    "Unedited",
]
