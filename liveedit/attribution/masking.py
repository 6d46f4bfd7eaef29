"""A picture of which parts are taken away, as the model's own pixel values and differentiable in the mask.

A mask is laid over the pixel values by where in the picture they come from (:mod:`liveedit.attribution.places`), which
fits any model. It covers the part of the picture that the model sees: of what its processor crops away there is
nothing to take.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional as F

from liveedit.attribution.places import pixel_values, places_of
from liveedit.backbones import Backbone
from liveedit.types import BackboneError, InputError

BLUR = 1 / 10  # standard deviation of the blur, as a share of the picture's longer side
WIDEST = 40  # ratio of sides beyond which a picture has next to no pixels in one direction


def mean_colour(picture: Image.Image) -> Image.Image:
    """The picture's mean colour all over it."""
    mean = np.asarray(picture, np.float32).mean((0, 1)).round().astype(int)
    return Image.new("RGB", picture.size, tuple(int(c) for c in mean))


def blurred(picture: Image.Image) -> Image.Image:
    """The picture so blurred that nothing in it can be told; the blur perturbation of arXiv 1704.03296."""
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) * BLUR))


class MaskedPicture:
    """m * picture + (1 - m) * ``removed``, for masks m (arXiv 1704.03296, Section 3.1) over its ``region``."""

    def __init__(self, backbone: Backbone, picture: Image.Image, removed: Image.Image) -> None:
        if max(picture.size) > WIDEST * min(picture.size):
            raise InputError("the picture is too narrow to explain: choose one of other proportions")
        whole = picture.convert("RGB")
        self.clean = pixel_values(backbone, whole)
        self.removed = pixel_values(backbone, removed)
        places = places_of(backbone, whole.size)
        self.region = places.region
        left, top, right, bottom = self.region
        at = places.at.flatten(0, -2)
        # From -1 to 1 over the region.
        self.places = 2 * ((at - at.new_tensor([left, top])) / at.new_tensor([right - left, bottom - top])) - 1
        if self.clean.shape != self.removed.shape:
            raise BackboneError("this model cuts pictures of one size differently: choose noise on tokens instead")

    def under(self, masks: torch.Tensor, smooth: bool = False, shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
        """Pixel values [B * n, ...] of the picture under B masks [B, h, w], 1 where it is kept and 0 where removed.

        The masks lie over ``region``. A mask's cells have hard edges or, if ``smooth``, pass into each other;
        ``shift`` moves the masks right and down, in cells.
        """
        count, height, width = masks.shape
        moved = self.places - self.places.new_tensor([2 * shift[0] / width, 2 * shift[1] / height])
        kept = F.grid_sample(
            masks[:, None].to(moved),
            moved[None, None].expand(count, -1, -1, -1),
            mode="bilinear" if smooth else "nearest",
            padding_mode="border",
            align_corners=False,
        ).view(count, *self.clean.shape)
        return torch.lerp(self.removed.expand_as(kept), self.clean.expand_as(kept), kept).flatten(0, 1)
