"""Draw the glyph atlas and work out the colour labels of the glyph table.

The table (``assets/glyphs.json``) is written by hand; the atlas
(``assets/glyphs.png``) and the ``colour`` field of every row are made from it
by :func:`draw_atlas`.  This file is only needed when the table or the font
changes: everything else reads the two finished files through
:mod:`liveedit.world.catalogue`.

The pictures come from a bitmap colour font (Noto Color Emoji), whose only
drawing size is 109 pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from liveedit.types import WorldError

CELL = 72
COLUMNS = 32
COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "grey",
)
# Flags are told apart by several colours, and nearly all faces and people share
# the same yellow, so one colour word would say nothing useful about them.
UNCOLOURED_CATEGORIES = frozenset({"flag", "face", "person"})
# The share of opaque pixels that must carry one colour name.
COLOUR_SHARE = 0.60

_FONT_SIZE = 109
_MARGIN = 0.03
_OPAQUE = 128
# The colour number of pixels that no colour word fits.
_UNNAMED = len(COLOURS)
# Channel values are rounded to multiples of this, which nobody can see but
# which makes the picture file about a quarter smaller.
_STEP = 4
# A code point that no font draws; its picture is the font's "missing" box.
_MISSING = "\U000e0fff"


def draw_atlas(font: Path, table: Path, out: Path) -> int:
    """Redraw the atlas and the colour labels from the glyph table.

    Every row of ``table`` is drawn with ``font`` into one 72x72 cell; the
    cells are laid out row by row, 32 to a row, and written to ``out`` as an
    RGBA picture.  The table is rewritten in place with fresh ``colour``
    labels and is otherwise unchanged.  A row may carry ``colour_by_eye``, a
    hand-written label for a picture whose measured one reads wrong (a white
    cup called white although people look at the coffee); it wins.

    Returns the number of glyphs drawn.  Raises :class:`WorldError` when a
    glyph cannot be drawn as one single picture; nothing is written then.
    """
    rows: list[dict[str, Any]] = json.loads(table.read_text(encoding="utf-8"))
    face = _load_font(font)
    missing = _draw_raw(face, _MISSING)
    height = -(-len(rows) // COLUMNS) * CELL
    sheet = np.zeros((height, COLUMNS * CELL, 4), dtype=np.uint8)
    failed: list[str] = []
    for index, row in enumerate(rows):
        raw = _draw_raw(face, row["char"])
        if raw is None or not _is_single(face, row["char"]) or _same(raw, missing):
            failed.append(row["name"])
            continue
        cell = _fit(raw)
        top, left = index // COLUMNS * CELL, index % COLUMNS * CELL
        sheet[top : top + CELL, left : left + CELL] = cell
        row["colour"] = _label(row, cell)
    if failed:
        raise WorldError(
            "The font has no single picture for these rows, so remove them from "
            f"{table} or use a newer font: {', '.join(failed)}."
        )
    Image.fromarray(sheet, "RGBA").save(out, optimize=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    table.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return len(rows)


def dominant_colour(cell: np.ndarray) -> str | None:
    """Return the colour name that most of a glyph carries, or ``None``.

    ``cell`` is uint8 ``[H, W, 4]`` (RGBA).  Only mostly opaque pixels count.
    """
    pixels: np.ndarray = cell.reshape(-1, 4)
    pixels = pixels[pixels[:, 3] >= _OPAQUE]
    if len(pixels) == 0:
        return None
    names = colour_names(pixels[:, :3])
    share = np.bincount(names, minlength=len(COLOURS) + 1) / len(pixels)
    share = share[: len(COLOURS)]
    best = int(share.argmax())
    return COLOURS[best] if share[best] >= COLOUR_SHARE else None


def _label(row: dict[str, Any], cell: np.ndarray) -> str | None:
    """Return the colour label of one row whose picture is ``cell``."""
    if row["category"] in UNCOLOURED_CATEGORIES:
        return None
    if "colour_by_eye" in row:
        by_eye: str | None = row["colour_by_eye"]
        return by_eye
    return dominant_colour(cell)


def colour_names(rgb: np.ndarray) -> np.ndarray:
    """Name the colour of each pixel.

    ``rgb`` is uint8 ``[N, 3]``; the result is int64 ``[N]``, indices into
    :data:`COLOURS` or one past its end when no name fits.
    The limits are tuned by eye on the drawn glyphs.
    """
    unit = rgb.astype(np.float64) / 255.0
    value = unit.max(axis=1)
    chroma = value - unit.min(axis=1)
    saturation = chroma / np.maximum(value, 1e-9)
    hue = _hue(unit, value, chroma)

    # Later lines win over earlier ones: first the hue circle, then the names
    # that depend on how light or dark a hue is, then the colours without hue.
    names = np.full(len(rgb), COLOURS.index("red"), dtype=np.int64)

    def name(colour: str, where: np.ndarray) -> None:
        names[where] = COLOURS.index(colour)

    warm = (hue >= 12) & (hue < 50)
    cool = (hue >= 170) & (hue < 270)
    name("orange", (hue >= 15) & (hue < 39))
    name("yellow", (hue >= 39) & (hue < 66))
    name("green", (hue >= 66) & (hue < 170))
    name("blue", (hue >= 170) & (hue < 252))
    name("purple", (hue >= 252) & (hue < 312))
    name("pink", (hue >= 312) & (hue < 343))
    # A light red is called pink, a dark or dull orange is called brown.
    reddish = (hue >= 335) | (hue < 15)
    name("pink", reddish & (saturation < 0.60) & (value > 0.80))
    name("brown", ((hue >= 335) | (hue < 12)) & (value < 0.62) & (saturation < 0.62))
    name("brown", (hue >= 9) & (hue < 39) & (value < 0.80))
    name("brown", warm & (value < 0.62))
    # Cream and tan have no word among the names, so they count for none.
    names[warm & (value >= 0.80) & (saturation < 0.62) & (hue < 40)] = _UNNAMED
    names[warm & (value >= 0.80) & (saturation < 0.40)] = _UNNAMED
    # Steel and stone are drawn in dull blue, which people call grey.
    name("grey", (saturation < 0.13) | (cool & (saturation < 0.36)))
    name("grey", cool & (saturation < 0.45) & (value < 0.55))
    name("white", (saturation < 0.12) & (value > 0.84))
    name("black", (value < 0.28) | ((value < 0.34) & (saturation < 0.30)))
    return names


def _hue(unit: np.ndarray, value: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Hue in degrees, float64 ``[N]``, of RGB pixels in 0..1 ``[N, 3]``."""
    red, green, blue = unit[:, 0], unit[:, 1], unit[:, 2]
    safe = np.maximum(chroma, 1e-9)
    hue = np.where(
        value == red,
        ((green - blue) / safe) % 6.0,
        np.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    return np.asarray(hue * 60.0, dtype=np.float64)


def _load_font(font: Path) -> ImageFont.FreeTypeFont:
    """Open the colour font with the layout engine that joins sequences."""
    if not features.check("raqm"):
        raise WorldError(
            "Pillow lacks the Raqm text layout needed to draw flags, so install a Pillow wheel that includes it."
        )
    try:
        return ImageFont.truetype(str(font), _FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)
    except OSError as error:
        raise WorldError(
            f"The font {font} could not be opened, so install the package "
            "fonts-noto-color-emoji or name another font file."
        ) from error


def _draw_raw(face: ImageFont.FreeTypeFont, char: str) -> Image.Image | None:
    """Draw one glyph, cropped to what is visible; ``None`` when empty."""
    canvas = Image.new("RGBA", (320, 200), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((20, 20), char, font=face, embedded_color=True)
    box = canvas.getchannel("A").getbbox()
    return None if box is None else canvas.crop(box)


def _is_single(face: ImageFont.FreeTypeFont, char: str) -> bool:
    """Tell whether a sequence of code points takes the width of one glyph."""
    return face.getlength(char) < 1.5 * face.getlength("\U0001f600")


def _same(first: Image.Image, second: Image.Image | None) -> bool:
    """Tell whether two cropped glyph pictures are identical."""
    return second is not None and first.size == second.size and first.tobytes() == second.tobytes()


def _fit(raw: Image.Image) -> np.ndarray:
    """Centre a cropped glyph in a square cell; uint8 ``[72, 72, 4]``."""
    side = max(raw.size)
    side += 2 * max(1, round(side * _MARGIN))
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(raw, ((side - raw.width) // 2, (side - raw.height) // 2))
    # Pillow resizes RGBA with premultiplied alpha, so edges keep their colour.
    cell = np.array(square.resize((CELL, CELL), Image.Resampling.LANCZOS))
    cell = np.minimum((cell.astype(np.int64) + _STEP // 2) // _STEP * _STEP, 255).astype(np.uint8)
    # Invisible pixels carry no colour: one value for them packs better.
    cell[cell[..., 3] == 0] = 0
    return cell
