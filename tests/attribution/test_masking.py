"""A mask over a picture ends up where the processor puts the picture, whatever it does to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from liveedit.attribution.masking import MaskedPicture, blurred, mean_colour
from liveedit.backbones import Backbone
from liveedit.types import InputError


class Patches:
    """A model's processor that crops the right half, turns it upside down and hands it out as rows of patches."""

    def encode(self, images: list[Image.Image], prompts: list[str]) -> Any:
        assert len(images) == len(prompts) == 1
        values = np.asarray(images[0].resize((32, 16)), np.float32)[::-1, 16:] / 127.5 - 1
        patches = torch.from_numpy(values.copy()).view(4, 4, 4, 4, 3).permute(0, 2, 1, 3, 4).reshape(16, 48)
        return SimpleNamespace(pixel_values=patches)


def test_masks_follow_the_processor_through_crop_flip_and_patches() -> None:
    picture = Image.new("RGB", (64, 32), "white")
    masked = MaskedPicture(Patches(), picture, Image.new("RGB", picture.size, "black"))  # type: ignore[arg-type]
    # The left half, which the model never sees, has no place in a mask.
    assert masked.region == pytest.approx((0.5, 0, 1, 1), abs=0.01)
    assert masked.under(torch.ones(1, 2, 4)).unique().tolist() == [1.0]
    assert masked.under(torch.zeros(1, 2, 4)).unique().tolist() == [-1.0]
    mask = torch.ones(1, 2, 2)
    mask[0, 0, 1] = 0  # the upper right quarter of what the model sees, upside down
    got = masked.under(mask).view(4, 4, 4, 4, 3).permute(0, 2, 1, 3, 4).reshape(16, 16, 3)
    expected = torch.ones(16, 16, 3)
    expected[8:, 8:] = -1
    assert torch.equal(got, expected)


def test_the_masked_picture_is_what_the_processor_makes_of_the_changed_one(
    lively_backbone: Backbone, pictures: list[Image.Image]
) -> None:
    picture = pictures[0].resize((160, 160))
    removed = mean_colour(picture)
    masked = MaskedPicture(lively_backbone, picture, removed)
    mask = torch.ones(1, 4, 4)
    mask[0, 1, 2] = 0
    changed = picture.copy()
    changed.paste(removed.crop((0, 0, 40, 40)), (80, 40))
    expected = lively_backbone.encode([changed], ["?"]).pixel_values
    assert expected is not None
    got = masked.under(mask)
    # Resizing mixes neighbours at the edges of the patch; elsewhere the two are one.
    assert ((got - expected).abs() > 0.02).float().mean() < 0.04
    assert torch.equal(masked.under(torch.ones(1, 4, 4)), masked.clean)


def test_smooth_masks_and_shifts(lively_backbone: Backbone, pictures: list[Image.Image]) -> None:
    picture = Image.new("RGB", (112, 112), "white")
    masked = MaskedPicture(lively_backbone, picture, Image.new("RGB", picture.size, "black"))
    share = (masked.under(torch.tensor([[[1.0, 0.0]]]), smooth=True) - masked.removed) / (masked.clean - masked.removed)
    row = share[0, 0, 56]
    assert row[0] == pytest.approx(1.0)
    assert row[56] == pytest.approx(0.5, abs=0.02)
    assert row[-1] == pytest.approx(0.0)
    assert (row.diff() <= 1e-3).all()
    moved = masked.under(torch.tensor([[[1.0, 0.0]]]), shift=(0.5, 0.0))
    kept = (moved[0, 0, 56] == masked.clean[0, 0, 56]).float().mean()
    assert kept == pytest.approx(0.75, abs=0.02)


def test_what_stands_for_a_removed_region() -> None:
    picture = Image.new("RGB", (64, 64), (10, 20, 30))
    picture.paste((210, 20, 30), (0, 0, 32, 64))
    assert mean_colour(picture).getcolors() == [(64 * 64, (110, 20, 30))]
    # The edge between the halves is gone.
    steps = np.abs(np.diff(np.asarray(blurred(picture), int)[32, :, 0]))
    assert steps.max() < 20


def test_pictures_that_are_nearly_lines_are_refused(lively_backbone: Backbone) -> None:
    line = Image.new("RGB", (1000, 2))
    with pytest.raises(InputError, match="too narrow"):
        MaskedPicture(lively_backbone, line, line)
