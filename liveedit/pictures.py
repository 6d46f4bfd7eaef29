"""Pictures from outside: opened safely, and a heatmap laid over one. No model, no figure library.

A picture that somebody uploads is untrusted: a few kilobytes can claim gigapixels, and a file may be
cut short or no picture at all. Its size is therefore read and judged before a pixel is decoded.
"""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from liveedit.types import InputError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
# The decoder of WEBP holds a picture three times, that of PNG once.
MAX_WEBP = 25_000_000
MAX_SIDE = 1024
# A larger picture is averaged over whole pixels before anything else is made of it; a smaller one is left to Pillow.
LARGE = 4096 * 4096
TILE = 1024
_ORIENTATION = 0x0112
# What Pillow raises on damaged data, beyond OSError: decoders differ.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error)

# A part of a picture: left, top, right and bottom as shares of its width and height.
Region = tuple[float, float, float, float]
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)

# Heat from cold to hot; chosen so that lightness rises evenly and the hue is readable to the colour-blind.
_RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float32)


def read_picture(data: bytes, name: str, max_side: int = MAX_SIDE) -> Image.Image:
    """A picture from the bytes of its file, as :func:`open_picture` opens one; ``name`` is for messages."""
    return _opened(io.BytesIO(data), name, max_side)


def open_picture(path: str | Path, max_side: int = MAX_SIDE) -> Image.Image:
    """Open a PNG, JPEG or WEBP as RGB, upright, at most ``max_side`` pixels a side.

    Raises :class:`InputError` with one sentence when the file is missing, of another kind, truncated, or
    larger than 50 megapixels (WEBP: 25). Transparency becomes white; of an animation the first frame is kept.
    """
    name = Path(path).name or str(path)
    # What is sent for a path may be no path at all, for which Path.is_file would raise.
    if not os.path.isfile(path):
        raise InputError(f"there is no picture at {str(path)[:200]}: check the path")
    return _opened(path, name, max_side)


def _opened(source: str | Path | io.BytesIO, name: str, max_side: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow's own warning comes at another size and says nothing that a person can act on.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                _check_size(name, *image.size, MAX_WEBP if image.format == "WEBP" else MAX_PIXELS)
                image.draft("RGB", (max_side, max_side))
                image.load()
                flat = _flattened(image, _factor(image, max_side))
                flat.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
            # What was decoded is gone before the next copy is made.
            ImageOps.exif_transpose(flat, in_place=True)
            flat.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
            return flat
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(name, MAX_PIXELS)) from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{name} is not a readable picture: choose a PNG, JPEG or WEBP file") from error
    except _DAMAGE as error:
        raise InputError(f"the picture {name} is damaged or incomplete: choose another file") from error


def overlay_heatmap(
    picture: Image.Image, heatmap: np.ndarray, region: Region = WHOLE, strength: float = 0.65
) -> Image.Image:
    """``picture`` with a heatmap [h, w] of values 0..1 laid over its ``region``; the hotter, the more opaque.

    The region may reach beyond the picture, of which then a part of the heatmap is seen. Outside of it the picture
    stays as it is.
    """
    heat = Image.fromarray(np.clip(heatmap, 0.0, 1.0).astype(np.float32))
    # Along each side: the pixels that the region covers, and between which places of the heatmap they lie.
    (x, across), (y, down) = (
        _covered(side, cells, start, end)
        for side, cells, start, end in zip(picture.size, heat.size, region[:2], region[2:], strict=True)
    )
    box = (across[0], down[0], across[1], down[1])
    shown = heat.resize((x.stop - x.start, y.stop - y.start), Image.Resampling.BICUBIC, box=box)
    smooth = np.clip(np.asarray(shown), 0.0, 1.0)
    places = smooth * (len(_RAMP) - 1)
    low = np.minimum(places.astype(int), len(_RAMP) - 2)
    share = (places - low)[..., None]
    colour = _RAMP[low] * (1 - share) + _RAMP[low + 1] * share
    opacity = (strength * (0.35 + 0.65 * smooth))[..., None]
    mixed = np.array(picture.convert("RGB"), np.float32)
    mixed[y, x] = mixed[y, x] * (1 - opacity) + colour * opacity
    return Image.fromarray(mixed.round().astype(np.uint8))


def _covered(side: int, cells: int, start: float, end: float) -> tuple[slice, tuple[float, float]]:
    """The pixels of a side that ``start`` to ``end`` of it covers, and where among ``cells`` in there they lie."""
    first, last = max(math.floor(start * side), 0), min(math.ceil(end * side), side)
    low, high = ((place / side - start) / (end - start) * cells for place in (first, last))
    return slice(first, last), (max(low, 0.0), min(high, float(cells)))


def _check_size(name: str, width: int, height: int, limit: int) -> None:
    """Refuse more pixels than the limit; called before decoding."""
    if width * height > limit:
        raise InputError(_too_large(name, limit))


def _too_large(name: str, limit: int) -> str:
    return f"the picture {name} has more than {limit // 1_000_000} megapixels: make it smaller"


def _factor(image: Image.Image, max_side: int) -> int:
    """By which whole number a large picture is reduced at once, to no less than twice the size it shall have."""
    return max(max(image.size) // max_side // 2, 1) if image.width * image.height > LARGE else 1


def _flattened(image: Image.Image, factor: int) -> Image.Image:
    """RGB, reduced by a whole factor; transparency becomes white, 16-bit greys are scaled rather than clipped.

    It is done piece by piece: all the copies of a whole picture would take six times its memory.
    """
    deep = image.mode.startswith("I") or image.mode == "F"
    scale = 257.0 if deep and np.max(image.getextrema()) > 255 else 1.0
    flat = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    step = max(TILE // factor, 1) * factor
    for top in range(0, image.height, step):
        for left in range(0, image.width, step):
            piece = image.crop((left, top, min(left + step, image.width), min(top + step, image.height)))
            if deep:
                values = np.asarray(piece).astype(np.float32) / scale
                piece = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
            if piece.mode in ("RGBA", "LA", "PA") or "transparency" in piece.info:
                layered = piece.convert("RGBA")
                piece = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
            flat.paste(piece.convert("RGB").reduce(factor), (left // factor, top // factor))
    return flat
