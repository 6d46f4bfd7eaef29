"""How well a map points: the pointing game and deletion on cases that can be counted by hand, and one scene in full."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from liveedit.attribution.masking import MaskedPicture
from liveedit.attribution.pointing import deletion_areas, deletion_order, hit, measure_case
from liveedit.backbones import Backbone
from liveedit.editors import LiveEdit
from liveedit.world.pointing import pointing_cases


def test_a_hit_is_the_hottest_cell_on_the_object() -> None:
    mask = np.zeros((100, 100), bool)
    mask[50:, :50] = True
    scores = np.zeros((4, 4), np.float32)
    scores[2, 1] = 1.0
    assert hit(scores, mask) == 1.0
    scores[0, 3] = 2.0
    assert hit(scores, mask) == 0.0
    scores[2, 1] = 2.0
    assert hit(scores, mask) == 0.5
    assert hit(np.zeros((4, 4), np.float32), mask) == 0.25
    # Over the right half of the picture the same cell lies beside the object.
    assert hit(np.eye(1, 16, 9, dtype=np.float32).reshape(4, 4), mask, (0.5, 0.0, 1.0, 1.0)) == 0.0


def test_patches_are_removed_hottest_first_from_maps_of_any_size() -> None:
    even = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert deletion_order(even).tolist() == list(range(63, -1, -1))
    coarse = np.zeros((4, 4), np.float32)
    coarse[1, 2] = 1.0
    assert set(deletion_order(coarse)[:4].tolist()) == {8 * r + c for r in (2, 3) for c in (4, 5)}
    fine = np.zeros((16, 16), np.float32)
    fine[6:8, 2:4] = 1.0
    assert deletion_order(fine)[0] == 8 * 3 + 1


class QuarterScore:
    """The brightness of the upper left quarter: 16 of the 64 patches."""

    forwards = 0

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :, :56, :56].mean((1, 2, 3))


def test_deletion_areas_are_those_of_the_curve(lively_backbone: Backbone) -> None:
    size = (112, 112)
    picture = MaskedPicture(lively_backbone, Image.new("RGB", size, "white"), Image.new("RGB", size, "black"))
    quarter = [8 * r + c for r in range(4) for c in range(4)]
    rest = [p for p in range(64) if p not in quarter]
    first, last = np.array(quarter + rest), np.array(rest + quarter)
    areas = deletion_areas(picture, QuarterScore(), [first, last])
    # In eighths: 1, 1/2, 0, 0 ... against 1, 1, 1, 1, 1, 1, 1, 1/2, 0; trapezoids.
    assert areas == pytest.approx([(0.5 + 0.5) / 8, (0.5 + 6 + 0.5) / 8], abs=1e-3)
    swapped = MaskedPicture(lively_backbone, Image.new("RGB", size, "black"), Image.new("RGB", size, "white"))
    assert deletion_areas(swapped, QuarterScore(), [first]) is None


def test_one_scene_in_full(open_editor: LiveEdit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveedit.attribution.pixel.CELLS", 4)
    monkeypatch.setattr("liveedit.attribution.pixel.PATCHES", 2)
    (case,) = pointing_cases(1, 0)
    methods, targets = ["tokens", "ablation"], ["margin", "base", "edited", "difference"]
    rows = measure_case(open_editor, case, methods, targets)
    assert [(row["method"], row["target"]) for row in rows] == [
        ("tokens", "margin"), ("ablation", "margin"), ("ablation", "base"), ("ablation", "edited"), ("ablation", "difference"),
    ]  # fmt: skip
    assert all(0 <= row["hit"] <= 1 for row in rows)
    assert all((row["deletion"] is None) == (row["random"] is None) for row in rows)
    assert rows[4]["forwards"] == rows[2]["forwards"] + rows[3]["forwards"]
    # The difference is explained by the difference of the maps, as it is when it is explained by itself.
    alone = measure_case(open_editor, case, ["ablation"], ["difference"])[0]
    assert (alone["hit"], alone["forwards"]) == (rows[4]["hit"], rows[4]["forwards"])
    again = measure_case(open_editor, case, methods, targets)
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in rows]
