"""What an attribution says: an array, and what it took to find it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liveedit.pictures import WHOLE, Region


@dataclass(frozen=True)
class Attribution:
    """How much of a target's value each region of a picture carries.

    ``scores`` [h, w] float32: what the target loses when a cell is perturbed, in the target's own unit;
    below zero where it gains. Of the learned mask they are the share of the cell that was deleted, 0 to 1.
    ``value``: the target on the whole picture. ``forwards``: passes of the backbone, one for each perturbed
    picture and model (unedited or edited) that it went through. ``seconds``: its time on the clock. ``region``:
    the part of the picture that the cells lie over. The model never sees the rest, of which there is nothing to say;
    where its processor pads, the cells may reach beyond the picture.
    """

    scores: np.ndarray
    method: str
    target: str
    value: float
    forwards: int
    seconds: float
    region: Region = WHOLE

    @property
    def cropped(self) -> bool:
        """Whether the model sees a part of the picture only."""
        left, top, right, bottom = self.region
        return max(left, top, 1 - right, 1 - bottom) > 0

    @property
    def heatmap(self) -> np.ndarray:
        """The scores [h, w] as float32 in 0..1; what the target does not lose counts as nothing."""
        return min_max(np.maximum(self.scores, 0.0))


def min_max(scores: np.ndarray) -> np.ndarray:
    """Scores scaled to 0..1 as float32; a map without any contrast becomes zeros."""
    low, high = float(scores.min()), float(scores.max())
    if not high > low:
        return np.zeros(scores.shape, np.float32)
    return ((scores - low) / (high - low)).astype(np.float32)
