"""Figures of the page. Only ``matplotlib.figure.Figure``: pyplot keeps global state, and handlers run in threads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from liveedit.pictures import overlay_heatmap

BLUE, ORANGE, INK, GRID = "#0072b2", "#e69f00", "#1f2937", "#d4d7dd"
MOST_BARS = 8
SHOWN_SIDE = 320


def weight_bars(names: Sequence[str], weights: Sequence[float]) -> Figure:
    """Horizontal bars of the final weights of the experts that passed, heaviest first; the top three stand out."""
    kept = list(zip(names, weights, strict=True))[:MOST_BARS]
    figure = Figure(figsize=(4.6, 0.62 + 0.34 * max(len(kept), 1)), dpi=200, layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    places = list(range(len(kept)))
    colours = [BLUE if i < 3 else GRID for i in places]
    axes.barh(places, [w for _, w in kept], height=0.62, color=colours)
    for place, (_, weight) in zip(places, kept, strict=True):
        axes.text(weight + 0.015, place, f"{weight:.2f}", va="center", fontsize=9, color=INK)
    axes.set_yticks(places, [n for n, _ in kept], fontsize=9, color=INK)
    for label in axes.get_yticklabels():
        # A dollar sign in a name is a dollar sign, not mathematics.
        label.set_parse_math(False)
    axes.set_ylim(max(len(kept), 1) - 0.5, -0.5)
    axes.set_xlim(0, max(1.0, *(w for _, w in kept)) * 1.12 if kept else 1.0)
    axes.set_xlabel("weight after soft routing", fontsize=9, color=INK)
    axes.tick_params(axis="x", labelsize=8, colors=INK, length=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def heatmap_picture(picture: Image.Image, heatmap: np.ndarray, side: int = SHOWN_SIDE) -> Image.Image:
    """A picture of ``side`` pixels square with its [g, g] heatmap over it.

    The vision tower sees a square, so the picture is squeezed into one as well: patch and picture agree.
    """
    square = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    if heatmap.ndim != 2 or not np.isfinite(heatmap).all():
        return square
    return overlay_heatmap(square, heatmap)
