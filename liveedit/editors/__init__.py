"""Editors: one protocol, and the classes that the registry (:data:`liveedit.configs.REGISTRY`) names."""

from importlib import import_module

from liveedit.configs import REGISTRY
from liveedit.editors.base import Editor, EditorKind, EditState, Prediction
from liveedit.editors.liveedit import LayerStates, LiveEdit, QueryFeatures
from liveedit.editors.unedited import Unedited


def _kind(dotted: str) -> EditorKind:
    module, _, name = dotted.rpartition(".")
    kind: EditorKind = getattr(import_module(module), name)
    return kind


EDITORS: dict[str, EditorKind] = {name: _kind(entry.kind) for name, entry in REGISTRY.items()}

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
