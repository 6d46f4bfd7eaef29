"""Pictures that the page draws."""

from __future__ import annotations

import numpy as np
from PIL import Image

from liveedit.pictures import WHOLE, Region, overlay_heatmap

SHOWN_SIDE = 320


def heatmap_picture(
    picture: Image.Image, heatmap: np.ndarray, region: Region = WHOLE, side: int = SHOWN_SIDE
) -> Image.Image:
    """A picture, squeezed to ``side`` pixels square, with a heatmap [h, w] over its ``region``.

    All pictures of a row are of one size then; what share of the sides a region takes is the same in a square.
    """
    square = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    if heatmap.ndim != 2 or not np.isfinite(heatmap).all():
        return square
    return overlay_heatmap(square, heatmap, region)
