"""MEND: the editor, and the hyper-networks that it edits with."""

from liveedit.editors.mend.editor import Mend

__all__ = ["Mend"]
