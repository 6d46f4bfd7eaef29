"""Grounds of the emoji world: plain, graded or patterned, each in tints of one named colour."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveedit.types import WorldError

Colour = tuple[float, float, float]

KINDS = ("plain", "gradient", "texture")

# The darkest and the lightest RGB tint that still goes by the name.  All are rather muted, so
# that the saturated glyphs stand out.
TINTS: dict[str, tuple[Colour, Colour]] = {
    "red": ((140, 30, 35), (212, 88, 82)),
    "orange": ((205, 108, 28), (244, 170, 96)),
    "yellow": ((218, 184, 50), (250, 232, 140)),
    "green": ((35, 95, 50), (135, 195, 130)),
    "blue": ((35, 65, 140), (135, 180, 225)),
    "purple": ((80, 45, 125), (172, 140, 208)),
    "pink": ((226, 128, 168), (250, 198, 215)),
    "brown": ((80, 50, 32), (155, 112, 78)),
    "black": ((10, 10, 12), (46, 46, 50)),
    "white": ((236, 236, 234), (254, 254, 254)),
    "grey": ((98, 100, 103), (176, 178, 181)),
}
COLOURS = tuple(TINTS)
# Colours into which a gradient may lean without losing its own name.
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "red": ("orange", "pink"),
    "orange": ("yellow", "red"),
    "yellow": ("orange", "white"),
    "green": ("blue", "yellow"),
    "blue": ("purple", "green"),
    "purple": ("blue", "pink"),
    "pink": ("purple", "white"),
    "brown": ("orange", "black"),
    "black": ("grey",),
    "white": ("grey",),
    "grey": ("white", "black"),
}


@dataclass(frozen=True)
class Ground:
    """What lies behind the objects: a kind from ``KINDS``, a named colour, and a seed."""

    kind: str
    colour: str
    seed: int


def sample_ground(rng: np.random.Generator, avoid: Collection[str | None] = ()) -> Ground:
    """A random ground, nearly always in none of the named colours in ``avoid``."""
    colours = [c for c in COLOURS if c not in avoid]
    if not colours or rng.random() < 0.03:
        colours = list(COLOURS)
    kind = KINDS[int(rng.choice(len(KINDS), p=(0.3, 0.3, 0.4)))]
    return Ground(kind, colours[int(rng.integers(len(colours)))], int(rng.integers(2**31)))


@lru_cache(maxsize=8)
def _axes(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixel centres as a row [1, size] and a column [size, 1], in -0.5..0.5."""
    line = (np.arange(size) + 0.5) / size - 0.5
    return line[None, :].astype(np.float32), line[:, None].astype(np.float32)


def _ramp(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """A gradient [size, size] in 0..1, straight in any direction or round."""
    x, y = _axes(size)
    if rng.random() < 0.3:
        mx, my = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
        away: NDArray[np.float32] = np.sqrt((x - mx) ** 2 + (y - my) ** 2) * np.float32(1.4)
        return np.minimum(away, np.float32(1))
    turn = rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(turn), math.sin(turn)
    spread = abs(cos) + abs(sin)
    return x * np.float32(cos / spread) + y * np.float32(sin / spread) + np.float32(0.5)


def _texture(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """A pattern [size, size] in 0..1: stripes, dots, a checker, or soft blobs."""
    which = int(rng.integers(5))
    if which >= 3:
        cells = int(rng.integers(4, 8) if which == 3 else rng.integers(9, 20))
        grain = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
        box = (0.5, 0.5, cells - 0.5, cells - 0.5)
        soft = grain.resize((size, size), Image.Resampling.BICUBIC, box)
        return np.asarray(soft, dtype=np.float32) * np.float32(1 / 255)
    turn = rng.uniform(0, 2 * math.pi) if rng.random() < 0.6 else 0.0
    pitch = 2 * math.pi * rng.uniform(3.0, 8.0)
    cos, sin = np.float32(pitch * math.cos(turn)), np.float32(pitch * math.sin(turn))
    p, q = rng.uniform(0, 2 * math.pi, 2).astype(np.float32)
    x, y = _axes(size)
    u = np.sin(x * cos + y * sin + p)
    edge = np.float32(rng.uniform(1.0, 5.0))  # how sharply the pattern's two tints meet
    if which == 0:
        field = u * edge
    else:
        v = np.sin(y * cos - x * sin + q)
        field = u * v * edge * 2 if which == 1 else (u + v - np.float32(0.7)) * edge
    mixed: NDArray[np.float32] = np.clip(field * np.float32(0.5) + np.float32(0.5), 0, 1)
    return mixed


def _tint(colour: str, level: float) -> NDArray[np.float64]:
    """The RGB tint [3] of a named colour, from its darkest (0) to its lightest (1)."""
    dark, light = TINTS[colour]
    return np.asarray(dark) * (1 - level) + np.asarray(light) * level


def draw_ground(ground: Ground, size: int) -> Image.Image:
    """A ground alone, as an RGB image of ``size`` x ``size`` pixels."""
    rng = np.random.default_rng(ground.seed)
    level = float(rng.uniform())
    shift = rng.uniform(-6, 6, 3) if ground.colour not in ("black", "white", "grey") else 0.0
    first = _tint(ground.colour, level) + shift
    if ground.kind == "plain":
        r, g, b = (int(v) for v in np.clip(first, 0, 255))
        return Image.new("RGB", (size, size), (r, g, b))
    # Step towards whichever end of the tints is further away, so that the step always shows.
    step = float(rng.uniform(0.25, 0.6)) * (1 if level < 0.5 else -1)
    second = _tint(ground.colour, level + step) + shift
    if ground.kind == "gradient":
        near = NEIGHBOURS[ground.colour]
        if rng.random() < 0.4:
            lean = float(rng.uniform(0.15, 0.35))
            other = _tint(near[int(rng.integers(len(near)))], level)
            second = second * (1 - lean) + other * lean
        field = _ramp(rng, size)
    elif ground.kind == "texture":
        field = _texture(rng, size)
    else:
        raise WorldError(f"There is no kind of ground called {ground.kind!r}.")
    # Both kinds are one field seen through a palette of 256 tints: far cheaper than mixing
    # three channels pixel by pixel.
    image = Image.fromarray((field * np.float32(255)).astype(np.uint8))
    mix = np.linspace(0, 1, 256)[:, None]
    palette = np.clip(first * (1 - mix) + second * mix, 0, 255).astype(np.uint8)
    image.putpalette(palette.tobytes())
    return image.convert("RGB")
