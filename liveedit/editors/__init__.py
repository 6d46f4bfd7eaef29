"""Editors: one protocol, one registry."""

from liveedit.editors.base import Editor, Prediction
from liveedit.editors.liveedit import LayerStates, LiveEdit, QueryFeatures

EDITORS: dict[str, type] = {"liveedit": LiveEdit}

__all__ = ["EDITORS", "Editor", "LayerStates", "LiveEdit", "Prediction", "QueryFeatures"]
