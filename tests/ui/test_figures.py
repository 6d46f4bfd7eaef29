"""The figures of the page."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from liveedit.ui.figures import MOST_BARS, heatmap_picture, weight_bars


def test_bars_are_the_weights_heaviest_on_top() -> None:
    figure = weight_bars(["Edit 2", "Edit 1"], [0.75, 0.25])
    axes = figure.axes[0]
    assert [round(bar.get_width(), 2) for bar in axes.patches] == [0.75, 0.25]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Edit 2", "Edit 1"]
    bottom, top = axes.get_ylim()
    assert bottom > top
    figure.canvas.draw()


def test_bars_take_any_name_and_are_limited() -> None:
    figure = weight_bars([r"$\frac{", *"abcdefghijk"], [0.1] * 12)
    figure.canvas.draw()  # mathematics that does not parse would raise here
    assert len(figure.axes[0].patches) == MOST_BARS


def test_pyplot_is_not_used() -> None:
    weight_bars(["Edit 1"], [1.0])
    module = sys.modules.get("matplotlib.pyplot")
    assert module is None or not module.get_fignums()


def test_heatmap_is_hot_where_it_is_hot() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[:4, :4] = 1.0
    grey = Image.new("RGB", (400, 300), (128, 128, 128))
    shown = heatmap_picture(grey, heat, 160)
    assert shown.size == (160, 160)
    red, green, blue = np.asarray(shown, np.float32)[20, 20]
    assert min(red, green) > blue + 40  # yellow is hot
    cold = np.asarray(shown, np.float32)[140, 140]
    assert cold.mean() < 128


def test_heatmap_that_is_not_finite_leaves_the_picture() -> None:
    picture = Image.new("RGB", (40, 40), "white")
    shown = heatmap_picture(picture, np.full((4, 4), np.nan), 40)
    assert np.array_equal(np.asarray(shown), np.asarray(picture))
