"""Photographs of the world: small labelled pictures from an archive, shown at any size.

The archive is a zip whose members are named ``split/class/number.jpg``, each a 32 x 32 JPEG
(CIFAR-10 in its usual ten classes).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from copy import copy
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, UnidentifiedImageError

from liveedit.types import WorldError
from liveedit.world.grounds import draw_ground, sample_ground

SIDE = 32  # pixels
SPLITS = ("train", "test")
HELD_BACK = 50  # of a set's photographs, one in this many is held back for validation
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# What a class is called in an answer.
ANSWER_NAMES: Mapping[str, str] = {c: c for c in CLASSES} | {"automobile": "car"}

_PAD = 5  # source pixels of mirrored border; more of it begins to show every thing twice
_SHIFT = 4  # source pixels
_FRAMES = ((250, 250, 248), (20, 20, 22), (95, 62, 38), (200, 170, 90))  # RGB


class PhotoSet:
    """One split of the archive, decoded into memory.

    ``images`` is uint8 RGB [N, 32, 32, 3], ``labels`` is int64 [N] with indices into ``classes``.
    The order is that of the sorted member names, whatever their order in the archive.
    """

    classes: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __init__(self, path: str | Path, split: str) -> None:
        if split not in SPLITS:
            raise WorldError(f"Photographs come as {' or '.join(SPLITS)}, not as {split!r}.")
        self.classes = CLASSES
        try:
            with zipfile.ZipFile(path) as archive:
                self.images, self.labels = _decode(archive, split, path)
        except FileNotFoundError:
            raise WorldError(f"There is no archive of photographs at {path}.") from None
        except (zipfile.BadZipFile, OSError) as error:
            raise WorldError(f"The archive of photographs {path} is unreadable: {error}.") from error

    def __len__(self) -> int:
        return len(self.labels)

    def hold_back(self, every: int = HELD_BACK) -> tuple[PhotoSet, PhotoSet]:
        """Two sets: these photographs without every ``every``-th, and those, for validation.

        The order is sorted by class, so both have all classes in proportion.
        """
        kept = np.arange(len(self)) % every == every - 1
        if kept.sum() < 2:
            raise WorldError(
                f"To hold one photograph in {every} back takes {2 * every} of them, the archive has {len(self)}."
            )
        rest, held_back = copy(self), copy(self)
        rest.images, rest.labels = self.images[~kept], self.labels[~kept]
        held_back.images, held_back.labels = self.images[kept], self.labels[kept]
        return rest, held_back

    def answer(self, index: int) -> str:
        """The word by which an answer calls the thing in photograph ``index``."""
        return ANSWER_NAMES[self.classes[int(self.labels[index])]]


def _decode(archive: zipfile.ZipFile, split: str, path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All photographs [N, 32, 32, 3] and labels [N] of one split."""
    found: list[tuple[str, int]] = []
    for name in sorted(archive.namelist()):
        parts = PurePosixPath(name).parts
        if len(parts) == 3 and parts[0] == split and name.lower().endswith(".jpg"):
            if parts[1] not in CLASSES:
                raise WorldError(f"The archive {path} holds an unknown class {parts[1]!r}.")
            found.append((name, CLASSES.index(parts[1])))
    if not found:
        raise WorldError(f"The archive {path} holds no {split} photographs.")
    images = np.empty((len(found), SIDE, SIDE, 3), dtype=np.uint8)
    for row, (name, _) in zip(images, found, strict=True):
        try:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise WorldError(f"Photograph {name} in {path} is damaged: {error}.") from error
        if pixels.shape != row.shape:
            height, width = pixels.shape[:2]
            raise WorldError(f"Photograph {name} in {path} is {width} x {height}, not {SIDE} x {SIDE}.")
        row[...] = pixels
    return images, np.array([label for _, label in found], dtype=np.int64)


def _enlarge(source: NDArray[np.uint8], size: int, box: tuple[float, float, float, float]) -> Image.Image:
    """Scale the part ``box`` of a picture to ``size`` pixels, smoothing the pixel grid away."""
    image = Image.fromarray(np.ascontiguousarray(source))
    image = image.resize((size, size), Image.Resampling.BICUBIC, box)
    # Bicubic scaling leaves a faint lattice at the source's pixel pitch and makes JPEG blocks
    # stand out; a blur narrower than one source pixel takes both away.
    radius = 0.2 * size / (box[2] - box[0])
    return image.filter(ImageFilter.BoxBlur(radius)) if radius > 0.3 else image


def _jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change brightness, contrast and the balance of the three channels a little."""
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, 3)
    lift = rng.uniform(-20, 20)  # 8-bit steps
    steps = np.arange(256)[None, :] - 128
    tables = np.clip(steps * gain[:, None] + 128 + lift, 0, 255).astype(np.uint8)
    return image.point(tables.ravel().tolist())


def render_photo(
    array32: NDArray[np.uint8], size: int = 112, rng: np.random.Generator | None = None
) -> NDArray[np.uint8]:
    """Show one photograph [32, 32, 3] as uint8 RGB [size, size, 3].

    With ``rng`` it is mirrored, shifted, zoomed and recoloured at random, and now and then out of focus or
    hung as a framed picture on a plain or patterned ground; without, it is shown as it is.
    """
    if array32.shape != (SIDE, SIDE, 3) or array32.dtype != np.uint8:
        raise WorldError(f"A photograph is uint8 [{SIDE}, {SIDE}, 3], not {array32.shape}.")
    if rng is None:
        return np.array(_enlarge(array32, size, (0, 0, SIDE, SIDE)))
    if rng.random() < 0.5:
        array32 = array32[:, ::-1]
    side = SIDE / rng.uniform(0.8, 1.2)
    # A zoomed-out view already shows some border, so less of the border is left to shift into.
    shift = min(_SHIFT, _PAD + (SIDE - side) / 2)
    dx, dy = rng.uniform(-shift, shift, 2)
    left = float(_PAD + (SIDE - side) / 2 + dx)
    top = float(_PAD + (SIDE - side) / 2 + dy)
    padded = _reflect(array32)
    box = (left, top, left + side, top + side)
    if rng.random() >= 0.12:
        photo = _jitter(_enlarge(padded, size, box), rng)
        if rng.random() < 0.15:
            photo = photo.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.005, 0.02)))
        return np.array(photo)
    inner = int(size * rng.uniform(0.55, 0.8))
    rim = max(1, round(size * rng.uniform(0.015, 0.04)))
    photo = _jitter(_enlarge(padded, inner, box), rng)
    canvas = draw_ground(sample_ground(rng), size)
    room = size - inner - 2 * rim
    x, y = (int(v) for v in rng.integers(0, max(1, room + 1), 2))
    outer = (x, y, x + inner + 2 * rim, y + inner + 2 * rim)
    canvas.paste(_FRAMES[int(rng.integers(len(_FRAMES)))], outer)
    canvas.paste(photo, (x + rim, y + rim))
    return np.array(canvas)


# Source row (or column) of each row of the mirrored picture; looking it up is much cheaper than
# numpy's general padding.
_MIRRORED = np.pad(np.arange(SIDE), _PAD, mode="reflect")


def _reflect(array32: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with a mirrored border: [42, 42, 3]."""
    return array32[_MIRRORED[:, None], _MIRRORED[None, :]]
