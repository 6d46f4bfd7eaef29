"""Memory for what belongs to people: how much there is for one and for all of them, and how much something takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from liveedit.config import EditorConfig
from liveedit.data.bulk import MAX_PIXELS
from liveedit.experts import Limits, bytes_of_one

EDITS = 1000  # of one session, on pictures as large as there is room for
_PIXEL = 4  # bytes of a coloured pixel as Pillow holds it


@dataclass(frozen=True)
class Room:
    """Bytes for the edits of one session and of all sessions together, and what one file of edits may hold."""

    session: int
    everyone: int
    file: Limits

    @classmethod
    def beside(cls, config: EditorConfig) -> Room:
        """The room on a server of an editor of this configuration; with the embedded one, about 190 and 390 MB."""
        tensors = EDITS * bytes_of_one(config)
        # Routing holds the experts a second time, side by side.
        session = MAX_PIXELS * _PIXEL + 2 * tensors
        return cls(session, 2 * session, Limits(MAX_PIXELS, tensors))


def size_of(value: Any, counted: set[int] | None = None) -> int:
    """Bytes of all pictures, tensors, arrays and texts inside a value, each counted once; the rest weighs little.

    What is in ``counted`` (ids of objects that are still alive) is left out, and what was met is added to it.
    """
    counted = set() if counted is None else counted
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if item is None or isinstance(item, (int, float)) or id(item) in counted:
            continue
        counted.add(id(item))
        if isinstance(item, Image):
            total += item.width * item.height * (1 if len(item.getbands()) == 1 else _PIXEL)
        elif isinstance(item, torch.Tensor):
            total += item.numel() * item.element_size()
        elif isinstance(item, np.ndarray):
            total += item.nbytes
        elif isinstance(item, (str, bytes)):
            total += len(item)
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple, set)):
            waiting.extend(item)
        elif type(item).__module__.startswith("liveedit.") and hasattr(item, "__dict__"):
            waiting.extend(vars(item).values())
    return total
