"""Scenes of the emoji world: what stands where, and how it is drawn.

A :class:`Scene` is a small, frozen description.  Drawing it needs nothing else: every random
choice was either made when the scene was sampled or follows from a seed kept inside it, so one
scene always gives the same picture.  Places and sizes are fractions of the picture's side, so a
scene can be drawn at any resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveedit.types import WorldError
from liveedit.world.catalogue import atlas, glyphs
from liveedit.world.grounds import COLOURS, KINDS, Ground, draw_ground, sample_ground

__all__ = [
    "COLOURS",
    "KINDS",
    "Ground",
    "Placed",
    "Scene",
    "draw_ground",
    "is_flag",
    "object_masks",
    "redraw",
    "render",
    "sample_ground",
    "sample_scene",
]

Flippable = Callable[[int], bool] | Collection[int] | None

MAX_OBJECTS = 4
FLAG_TILT = 12.0  # degrees; a flag tilted further can pass for a different one
USUAL_TILT = 20.0
LARGE_TILT = 40.0


@dataclass(frozen=True)
class _Cell:
    """Where a slot's object may stand, and how large it may be (fractions of the side)."""

    slot: str
    x0: float
    y0: float
    x1: float
    y1: float
    smallest: float
    largest: float
    jitter: float  # how far the centre may leave the middle of the cell


def _corner(slot: str, small: float = 0.30, large: float = 0.45) -> _Cell:
    x = 0.5 if "right" in slot else 0.0
    y = 0.5 if "bottom" in slot else 0.0
    return _Cell(slot, x, y, x + 0.5, y + 0.5, small, large, 0.06)


def _half(slot: str, small: float = 0.36, large: float = 0.49) -> _Cell:
    x0, x1 = {"left": (0.0, 0.5), "right": (0.5, 1.0)}.get(slot, (0.0, 1.0))
    y0, y1 = {"top": (0.0, 0.5), "bottom": (0.5, 1.0)}.get(slot, (0.0, 1.0))
    return _Cell(slot, x0, y0, x1, y1, small, large, 0.09)


# Cells of one layout never overlap, so neither do the objects; each layout is in reading order.
LAYOUTS: dict[int, tuple[tuple[_Cell, ...], ...]] = {
    1: ((_Cell("centre", 0.0, 0.0, 1.0, 1.0, 0.45, 0.85, 0.12),),),
    2: (
        (_half("left"), _half("right")),
        (_half("top"), _half("bottom")),
    ),
    3: (
        (_corner("top left"), _corner("top right"), _half("bottom", 0.32, 0.46)),
        (_half("top", 0.32, 0.46), _corner("bottom left"), _corner("bottom right")),
        (_half("left", 0.32, 0.46), _corner("top right"), _corner("bottom right")),
        (_corner("top left"), _half("right", 0.32, 0.46), _corner("bottom left")),
    ),
    4: (tuple(_corner(s) for s in ("top left", "top right", "bottom left", "bottom right")),),
}
_CELLS = {
    (len(layout), frozenset(c.slot for c in layout)): {c.slot: c for c in layout}
    for layouts in LAYOUTS.values()
    for layout in layouts
}


@dataclass(frozen=True)
class Placed:
    """One object of a scene.

    ``cx``, ``cy`` (centre) and ``size`` (side of the glyph's square before it is tilted) are
    fractions of the picture's side; ``angle`` is in degrees, counter-clockwise; ``flip`` mirrors
    left and right before tilting.
    """

    glyph: int
    cx: float
    cy: float
    size: float
    angle: float
    flip: bool
    slot: str


@dataclass(frozen=True)
class Scene:
    """A whole picture.

    ``brightness`` is a factor on every channel; ``noise`` is the standard deviation of the grain
    as a fraction of full scale (0 for none).
    """

    objects: tuple[Placed, ...]
    ground: Ground
    brightness: float
    noise: float
    seed: int


# --- sampling ------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _traits() -> tuple[tuple[bool, str | None], ...]:
    """For each glyph: whether it is a flag, and its own colour."""
    # Some flags of no country ("white flag") are filed under other categories.
    return tuple((g.category == "flag" or g.name.endswith("flag"), g.colour) for g in glyphs())


def is_flag(glyph: int) -> bool:
    """Whether this glyph is a flag, which must be neither mirrored nor tilted far."""
    return _traits()[glyph][0]


def _may_flip(glyph: int, flippable: Flippable) -> bool:
    if flippable is None or is_flag(glyph):
        return False
    return bool(flippable(glyph)) if callable(flippable) else glyph in flippable


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(0, 2**31))


def _angle(rng: np.random.Generator, glyph: int, loose: bool) -> float:
    """A tilt in degrees; ``loose`` glyphs now and then lean far over."""
    if is_flag(glyph):
        return float(np.clip(rng.normal(0.0, 5.0), -FLAG_TILT, FLAG_TILT))
    if loose and rng.random() < 0.12:
        return float(rng.choice((-1.0, 1.0)) * rng.uniform(USUAL_TILT, LARGE_TILT))
    return float(np.clip(rng.normal(0.0, 9.0), -USUAL_TILT, USUAL_TILT))


def _place(rng: np.random.Generator, glyph: int, cell: _Cell, flip: bool | None, loose: bool) -> Placed:
    """Put one glyph into its cell; ``flip`` None leaves the mirroring to chance."""
    size = float(rng.uniform(cell.smallest, cell.largest))
    angle = _angle(rng, glyph, loose)
    # A tilted square reaches further out, but the drawing rarely fills its corners: half of the
    # extra reach is enough to keep neighbours apart.
    rad = math.radians(abs(angle))
    reach = size * (1.0 + math.cos(rad) + math.sin(rad)) / 4.0

    def centre(low: float, high: float) -> float:
        room = min(cell.jitter, max(0.0, (high - low) / 2 - reach))
        return float((low + high) / 2 + rng.uniform(-room, room))

    cx, cy = centre(cell.x0, cell.x1), centre(cell.y0, cell.y1)
    mirrored = bool(rng.random() < 0.5) if flip is None else flip
    return Placed(glyph, cx, cy, size, angle, mirrored, cell.slot)


def _finish(rng: np.random.Generator, objects: tuple[Placed, ...]) -> Scene:
    """Choose everything that does not belong to a single object."""
    ground = sample_ground(rng, {_traits()[o.glyph][1] for o in objects})
    noise = float(rng.uniform(0.005, 0.035)) if rng.random() < 0.5 else 0.0
    return Scene(objects, ground, float(rng.uniform(0.88, 1.1)), noise, _seed(rng))


def sample_scene(rng: np.random.Generator, glyph_ids: Sequence[int], flippable: Flippable = None) -> Scene:
    """A random scene of one to four glyphs, which fill a layout's slots in reading order.

    ``flippable`` (a predicate or a set of glyph indices) says which glyphs have no handedness;
    only those are mirrored or tilted by more than 20 degrees, and flags never are.
    """
    if not 1 <= len(glyph_ids) <= MAX_OBJECTS:
        raise WorldError(f"A scene holds 1 to {MAX_OBJECTS} objects, not {len(glyph_ids)}.")
    count = len(_traits())
    for glyph in glyph_ids:
        if not 0 <= glyph < count:
            raise WorldError(f"There is no glyph {glyph}: the catalogue holds {count}.")
    layouts = LAYOUTS[len(glyph_ids)]
    layout = layouts[int(rng.integers(len(layouts)))]
    objects = []
    for glyph, cell in zip(glyph_ids, layout, strict=True):
        loose = _may_flip(glyph, flippable)
        objects.append(_place(rng, int(glyph), cell, None if loose else False, loose))
    return _finish(rng, tuple(objects))


def redraw(scene: Scene, rng: np.random.Generator, flippable: Flippable = None) -> Scene:
    """The same objects in the same slots, with everything else drawn anew.

    Without ``flippable`` each object keeps the mirroring it has, since nothing then says whether
    it may be turned round.
    """
    cells = _CELLS.get((len(scene.objects), frozenset(o.slot for o in scene.objects)))
    if cells is None:
        raise WorldError("A scene whose slots follow no known layout cannot be redrawn.")
    objects = []
    for old in scene.objects:
        loose = _may_flip(old.glyph, flippable)
        flip = None if loose else old.flip and flippable is None
        # A mirrored object shows by itself that it may be treated loosely.
        objects.append(_place(rng, old.glyph, cells[old.slot], flip, loose or old.flip))
    return _finish(rng, tuple(objects))


# --- drawing -------------------------------------------------------------------------------

_LEVELS = (24, 32, 40, 52, 72)  # sides in pixels of the pre-shrunk copies of a glyph
_MARGIN = 2  # clear pixels around each copy, so that tilted edges fade out instead of stepping


@lru_cache(maxsize=8192)
def _copy(glyph: int, level: int, flip: bool) -> Image.Image:
    """A glyph in premultiplied colour, ``level`` pixels wide, inside a clear margin."""
    image = Image.fromarray(atlas()[glyph]).convert("RGBa")
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if image.width != level:
        image = image.resize((level, level), Image.Resampling.BOX if level < 40 else Image.Resampling.HAMMING)
    framed = Image.new("RGBa", (level + 2 * _MARGIN,) * 2)
    framed.paste(image, (_MARGIN, _MARGIN))
    return framed


def _patch(placed: Placed, size: int) -> tuple[slice, slice, NDArray[np.uint8]] | None:
    """An object's rows, columns, and premultiplied RGBA pixels [h, w, 4]; None if out of view."""
    side = placed.size * size
    level = next((s for s in _LEVELS if s >= side), _LEVELS[-1])
    rad = math.radians(placed.angle)
    cos, sin = math.cos(rad), math.sin(rad)
    half = side * (abs(cos) + abs(sin)) / 2 + 1
    px, py = placed.cx * size, placed.cy * size
    x0, x1 = max(0, math.floor(px - half)), min(size, math.ceil(px + half))
    y0, y1 = max(0, math.floor(py - half)), min(size, math.ceil(py + half))
    if x0 >= x1 or y0 >= y1 or side <= 0:
        return None
    # From a picture's pixel back to the copy's: undo the shift, the tilt, then the scaling.
    k = level / side
    a, b = k * cos, k * sin
    dx, dy = x0 - px, y0 - py
    middle = level / 2 + _MARGIN
    matrix = (a, -b, a * dx - b * dy + middle, b, a, b * dx + a * dy + middle)
    drawn = _copy(placed.glyph, level, placed.flip).transform(
        (x1 - x0, y1 - y0), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    pixels = np.asarray(drawn)
    # Rounding may leave colour one step above alpha, which would shine outside the mask.
    return slice(y0, y1), slice(x0, x1), np.minimum(pixels, pixels[..., 3:])


@lru_cache(maxsize=4)
def _grain(size: int) -> NDArray[np.float32]:
    """A stock of unit noise from which scenes cut their own piece: [2 size, 2 size, 3]."""
    return np.random.default_rng(20).standard_normal((2 * size, 2 * size, 3), dtype=np.float32)


def render(scene: Scene, size: int = 112) -> NDArray[np.uint8]:
    """Draw a scene: uint8 RGB [size, size, 3], the same for the same scene."""
    canvas = np.array(draw_ground(scene.ground, size))
    for placed in scene.objects:
        patch = _patch(placed, size)
        if patch is None:
            continue
        rows, columns, drawn = patch
        below = canvas[rows, columns]
        clear = (255 - drawn[..., 3:]).astype(np.uint16)
        # Dimming what lies below and adding colour that is premultiplied can never pass 255,
        # because _patch keeps colour within alpha.
        below[...] = drawn[..., :3] + ((below * clear + 127) // 255).astype(np.uint8)
    if scene.noise == 0 and scene.brightness == 1:
        return canvas
    if scene.noise == 0:
        table = np.clip(np.arange(256) * scene.brightness + 0.5, 0, 255).astype(np.uint8)
        shown: NDArray[np.uint8] = table[canvas]
        return shown
    top, left = np.random.default_rng(scene.seed).integers(0, size + 1, 2)
    grain = _grain(size)[top : top + size, left : left + size]
    lit = canvas * np.float32(scene.brightness)
    lit += grain * np.float32(scene.noise * 255)
    lit += np.float32(0.5)
    pixels: NDArray[np.uint8] = np.clip(lit, 0, 255, out=lit).astype(np.uint8)
    return pixels


def object_masks(scene: Scene, size: int = 112) -> NDArray[np.bool_]:
    """The pixels that each object touches, however faintly: bool [objects, size, size]."""
    masks = np.zeros((len(scene.objects), size, size), dtype=bool)
    for mask, placed in zip(masks, scene.objects, strict=True):
        patch = _patch(placed, size)
        if patch is not None:
            rows, columns, drawn = patch
            mask[rows, columns] = drawn[..., 3] > 0
    return masks
