"""The catalogue of glyphs: what each little picture is called and looks like.

The catalogue is two files in ``assets``: ``glyphs.json``, one row per glyph
with its name, category, dominant colour and a few facts, and ``glyphs.png``,
one picture with a 72x72 cell per row of the table.  Both are read once, when
first asked for.  See :mod:`liveedit.world.draw` for how the picture is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from liveedit.types import WorldError

ASSETS = Path(__file__).resolve().parents[2] / "assets"
CELL = 72
COLUMNS = 32

CATEGORIES = (
    "animal",
    "bird",
    "sea creature",
    "insect",
    "fruit",
    "vegetable",
    "food",
    "dessert",
    "drink",
    "plant",
    "vehicle",
    "building",
    "clothing",
    "tool",
    "musical instrument",
    "sport",
    "household object",
    "electronic device",
    "weather",
    "face",
    "person",
    "body part",
    "symbol",
    "flag",
)

_REDO = "so restore the assets folder from the repository or redraw the atlas"


@dataclass(frozen=True)
class Glyph:
    """One picture of the catalogue and what is known about it.

    ``index`` is the glyph's place in :func:`atlas`; ``colour`` is ``None``
    when no single colour dominates; ``facts`` maps a short key such as
    "home" or "capital" to its lower-case value.
    """

    index: int
    char: str
    name: str
    category: str
    colour: str | None
    facts: Mapping[str, str]


@cache
def glyphs() -> tuple[Glyph, ...]:
    """Return all glyphs, in the order of the atlas cells."""
    return read_table(ASSETS / "glyphs.json")


@cache
def atlas() -> np.ndarray:
    """Return all pictures as read-only uint8 ``[G, 72, 72, 4]`` (RGBA)."""
    return read_atlas(ASSETS / "glyphs.png", len(glyphs()))


@cache
def by_name() -> Mapping[str, Glyph]:
    """Return a read-only map from a glyph's name to the glyph."""
    return MappingProxyType({glyph.name: glyph for glyph in glyphs()})


def read_table(path: Path) -> tuple[Glyph, ...]:
    """Read a glyph table; raise :class:`WorldError` when it is unusable."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            Glyph(
                index=index,
                char=row["char"],
                name=row["name"],
                category=row["category"],
                colour=row["colour"],
                # Glyphs are shared by everyone who reads the catalogue.
                facts=MappingProxyType(dict(row["facts"])),
            )
            for index, row in enumerate(rows)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorldError(f"The glyph table {path} is missing or damaged, {_REDO}.") from error


def read_atlas(path: Path, count: int) -> np.ndarray:
    """Cut an atlas picture into ``count`` cells.

    Returns read-only uint8 ``[count, 72, 72, 4]``.  Raises
    :class:`WorldError` when the picture is missing, damaged or not of the
    size that ``count`` glyphs need.
    """
    try:
        with Image.open(path) as picture:
            sheet = np.array(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError) as error:
        # Pillow reports a broken PNG as any of these three.
        raise WorldError(f"The glyph atlas {path} is missing or damaged, {_REDO}.") from error
    lines = -(-count // COLUMNS)
    if sheet.shape != (lines * CELL, COLUMNS * CELL, 4):
        raise WorldError(f"The glyph atlas {path} does not fit the glyph table, {_REDO}.")
    cells = sheet.reshape(lines, CELL, COLUMNS, CELL, 4).swapaxes(1, 2)
    cells = np.ascontiguousarray(cells.reshape(-1, CELL, CELL, 4)[:count])
    cells.flags.writeable = False
    return cells
