"""Where in the picture a model's pixel values, and with them its visual tokens, come from.

Where a region of the picture ends up among a model's pixel values is the business of its processor: it resizes,
crops, pads, tiles or cuts into patches. All of that only moves and mixes neighbours, so two pictures whose brightness
is their horizontal and their vertical place, sent through the processor, tell of every pixel value where in the
picture it comes from, without a line for any model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from liveedit.backbones import Backbone
from liveedit.backbones.parts import reads_by_queries
from liveedit.pictures import Region
from liveedit.types import BackboneError, InputError

LEVELS = 255  # of brightness, and so places that can be told apart along a side
SLACK = 0.01  # share of a side that the edge of what is seen may be off: the brightness at an edge is not exact
OTHERS = "choose occlusion, ablation or the learned mask"


@dataclass(frozen=True)
class Places:
    """What a processor makes of pictures of one size.

    ``at`` [..., 2]: where each pixel value [...] comes from, x then y, 0 to 1 over the picture's sides; the middle for
    those that come from nowhere. ``seen``: bool [...], false where the processor padded. ``region``: the part of the
    picture that the pixel values show; the rest was cropped away.
    """

    at: torch.Tensor
    seen: torch.Tensor
    region: Region


@dataclass(frozen=True)
class TokenGrid:
    """How the visual tokens of a picture lie: ``rows`` x ``columns`` of them, in raster order.

    ``shown``: those rows and those columns that show some of the picture; the others are padding. ``region``: the
    part of the picture that they lie over, less than 0 or more than 1 where it takes in padding.
    """

    rows: int
    columns: int
    shown: tuple[slice, slice]
    region: Region


def pixel_values(backbone: Backbone, picture: Image.Image) -> torch.Tensor:
    """One picture's pixel values [n, ...] in float32."""
    pixels = backbone.encode([picture], ["?"]).pixel_values
    if pixels is None:
        raise InputError("there is no picture to explain: choose one")
    return pixels.float()


def places_of(backbone: Backbone, size: tuple[int, int]) -> Places:
    """Where the pixel values of pictures of ``size``, width and height, come from."""
    width, height = size
    black, white = (pixel_values(backbone, Image.new("RGB", size, colour)) for colour in ("black", "white"))
    # At the edge of what was padded a value is mixed of both, and too little of it is the picture's to tell a place.
    seen = white - black > (white - black).max() / 2
    at, edges = [], []
    for across, side in ((True, width), (False, height)):
        ramp = np.linspace(0, LEVELS, side).round().astype(np.uint8)
        grey = np.broadcast_to(ramp[None, :] if across else ramp[:, None], (height, width))
        share = (pixel_values(backbone, Image.fromarray(grey.copy()).convert("RGB")) - black) / (white - black)
        share = torch.nan_to_num(share.clamp(0, 1), nan=0.5)
        # Pixel i of n has its centre at (i + 1/2) / n.
        at.append((share * (side - 1) + 0.5) / side)
        edges.append(_edges(share[seen], side))
    (left, right), (top, bottom) = edges
    return Places(torch.stack(at, dim=-1), seen, (left, top, right, bottom))


def _edges(share: torch.Tensor, side: int) -> tuple[float, float]:
    """From where to where along a side of ``side`` pixels the pixel values reach that have these shares of its ramp."""
    levels = (share * LEVELS).round().unique()
    first, last = (((level / LEVELS) * (side - 1) + 0.5) / side for level in (levels[0].item(), levels[-1].item()))
    # A value's own place is its centre: it reaches half the way to the next further.
    half = (last - first) / (2 * max(len(levels) - 1, 1))
    slack = SLACK + 0.5 / side
    start, end = first - half, last + half
    return (0.0 if start <= slack else start), (1.0 if end >= 1 - slack else end)


def token_grid(backbone: Backbone, size: tuple[int, int]) -> TokenGrid:
    """The grid of the visual tokens of pictures of ``size``, width and height.

    Raises :class:`BackboneError` where they make none: the picture is cut into several tiles, one after the other, or
    the tokens are those of queries that look anywhere.
    """
    batch = backbone.encode([Image.new("RGB", size)], ["?"])
    assert batch.pictures is not None
    start, end = batch.spans[0].vision
    places = places_of(backbone, size)
    shape, cut = tuple(places.seen.shape), batch.pictures.values.get("image_grid_thw")
    left, top, right, bottom = places.region
    if cut is not None:
        rows, columns = _merged(cut, end - start)
        return TokenGrid(rows, columns, (slice(0, rows), slice(0, columns)), places.region)
    tiles = math.prod(shape[:-3])
    if tiles > 1:
        raise BackboneError(
            f"this model cuts a picture of {size[0]} x {size[1]} pixels into {tiles} tiles, so its visual tokens do "
            f"not lie on one grid: {OTHERS}"
        )
    if len(shape) < 4 or reads_by_queries(backbone):
        raise _scattered(end - start)
    rows, columns = _in_proportion(end - start, *shape[-2:])
    seen = places.seen.reshape(-1, *shape[-2:]).any(0)
    down, (top, bottom) = _shown(seen.any(1), rows, top, bottom)
    across, (left, right) = _shown(seen.any(0), columns, left, right)
    return TokenGrid(rows, columns, (down, across), (left, top, right, bottom))


def _merged(cut: torch.Tensor, tokens: int) -> tuple[int, int]:
    """Rows and columns of ``tokens`` tokens, each made of a square of the patches that ``cut`` [1, 3] counts."""
    if len(cut) == 1:
        times, rows, columns = (int(count) for count in cut[0])
        side = math.isqrt(rows * columns // tokens)
        if times == 1 and side and (rows // side) * (columns // side) == tokens:
            return rows // side, columns // side
    raise _scattered(tokens)


def _in_proportion(tokens: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of ``tokens`` square tokens over ``height`` x ``width`` pixels."""
    rows = math.isqrt(tokens * height // width)
    if not rows or tokens % rows or rows * width != tokens // rows * height:
        raise _scattered(tokens)
    return rows, tokens // rows


def _scattered(tokens: int) -> BackboneError:
    return BackboneError(f"this model's {tokens} visual tokens do not lie on a grid over the picture: {OTHERS}")


def _shown(seen: torch.Tensor, cells: int, start: float, end: float) -> tuple[slice, tuple[float, float]]:
    """Of ``cells`` along pixels ``seen`` [n] those that show some of the picture, and from where to where in it.

    The pixels that are seen show it from ``start`` to ``end``.
    """
    at = seen.nonzero().flatten().tolist()
    first, count, cell = at[0], at[-1] + 1 - at[0], len(seen) / cells
    low, high = int(first // cell), math.ceil((first + count) / cell)
    reach = [start + (edge * cell - first) / count * (end - start) for edge in (low, high)]
    return slice(low, high), (reach[0], reach[1])
