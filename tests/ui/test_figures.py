"""Pictures that the page draws."""

from __future__ import annotations

import numpy as np
from PIL import Image

from liveedit.ui.figures import heatmap_picture


def test_heatmap_is_hot_where_it_is_hot() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[:4, :4] = 1.0
    grey = Image.new("RGB", (400, 300), (128, 128, 128))
    shown = heatmap_picture(grey, heat, side=160)
    assert shown.size == (160, 160)
    red, green, blue = np.asarray(shown, np.float32)[20, 20]
    assert min(red, green) > blue + 40  # yellow is hot
    cold = np.asarray(shown, np.float32)[140, 140]
    assert cold.mean() < 128


def test_heatmap_lies_over_its_region_and_the_rest_stays_as_it_is() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[:, 0] = 1.0
    shown = np.asarray(heatmap_picture(Image.new("RGB", (640, 480), "grey"), heat, (0.125, 0.0, 0.875, 1.0), 160), int)
    assert (shown[:, :20] == 128).all() and (shown[:, 140:] == 128).all()
    assert (shown[:, 22:30, 0] > shown[:, 22:30, 2] + 40).all()
    assert (shown[:, 60:140].mean(-1) < 128).all()


def test_heatmap_that_is_not_finite_leaves_the_picture() -> None:
    picture = Image.new("RGB", (40, 40), "white")
    shown = heatmap_picture(picture, np.full((4, 4), np.nan), side=40)
    assert np.array_equal(np.asarray(shown), np.asarray(picture))
