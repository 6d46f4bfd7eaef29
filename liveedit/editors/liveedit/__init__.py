"""LiveEdit: the editor, what it does at its layer, and how trained ones are read and written."""

from liveedit.editors.liveedit.editor import LayerStates, LiveEdit, QueryFeatures

__all__ = ["LayerStates", "LiveEdit", "QueryFeatures"]
