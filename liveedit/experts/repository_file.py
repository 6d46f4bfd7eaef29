"""Reading of a file of edits: one safetensors file that anybody may have made, refused unless all of it is sound.

What a file claims of itself is judged before the memory that it asks for is taken. No pickle is ever read.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open

from liveedit.config import EditorConfig
from liveedit.types import MAX_CHARACTERS, RepositoryError

FORMAT = "liveedit-repository-2"
# In files of before, each expert has a picture of its own, be it the same as another's.
FORMER = "liveedit-repository-1"
TENSORS = ("U", "V", "phi", "psi")
STORED_SIDE = 512
MAX_HEADER = 32 * 2**20  # bytes; ten thousand edits take a tenth of it
ROW_CHARACTERS = 6000
SIZE_CHARACTERS = 12
MAX_SCALE = 1000.0
# What the description of an expert says of its picture: which one it is, or how long.
_PICTURE = {FORMAT: "picture", FORMER: "picture_bytes"}
_ID = re.compile(r"[\w-]{1,64}")


@dataclass(frozen=True)
class Limits:
    """What a file of edits may take: pixels of all pictures together (they are kept smaller to fit), bytes of tensors."""

    pixels: int = 2**27
    tensors: int = 2**62


class _Damage(Exception):
    """What is wrong inside a file of edits."""


def shapes_of(config: EditorConfig) -> dict[str, tuple[int, int]]:
    """The shape of each tensor of one expert."""
    low_rank, routing = (config.rank, config.hidden_size), (config.queries, config.module_dim)
    return {"U": low_rank, "V": low_rank, "phi": routing, "psi": routing}


def bytes_of_one(config: EditorConfig) -> int:
    """Bytes of the tensors of one expert in memory, in float32."""
    return 4 * sum(height * width for height, width in shapes_of(config).values())


def read_experts(
    path: str | Path, config: EditorConfig, made_by: str = "", limits: Limits | None = None
) -> Iterator[tuple[dict[str, Any], Image.Image, dict[str, torch.Tensor]]]:
    """Of each expert its description, its picture in RGB, and ``U``, ``V`` [r, d], ``phi``, ``psi`` [k, d_m].

    A description has ``id``, ``prompt``, ``target``, ``active`` and ``scale``; experts that share a picture in the file
    share it here. Raises :class:`RepositoryError` for a file that is damaged, no file of edits, or of another editor
    than ``config``'s, or of other trained weights than ``made_by`` names (where both are known), or beyond ``limits``.
    Whether the tensors' numbers are finite is not looked at.
    """
    limits = limits or Limits()
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            if metadata.get("format") not in _PICTURE:
                raise RepositoryError(f"{path} is not a file of edits: choose a file saved by this program")
            if metadata.get("backbone") != config.backbone or metadata.get("layer") != str(config.layer):
                raise RepositoryError(
                    f"the edits in {path} were made for another model or layer: load them with the editor that made them"
                )
            if made_by and metadata.get("made_by", "") not in ("", made_by):
                raise RepositoryError(
                    f"the edits in {path} were made by another training of this editor: load them with the one that made them"
                )
            kept = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118 (no iterator)
            count = _count({name: (part.get_dtype(), tuple(part.get_shape())) for name, part in kept.items()}, config)
            size = count * bytes_of_one(config)
            if size > limits.tensors:
                raise RepositoryError(
                    f"the {count:,} edits in {path} take {size >> 20} MB, and here is room for {limits.tensors >> 20}: "
                    "keep fewer edits in one file"
                )
            rows = _rows(metadata.get("experts", "[]"), count, _PICTURE[metadata["format"]])
            sizes = _sizes(metadata, rows)
            tensors = {name: handle.get_tensor(name) for name in kept}
        pictures = _pictures(tensors.get("pictures", torch.empty(0)).numpy(), sizes, limits.pixels)
        for index, row in enumerate(rows):
            yield row, pictures[row["picture"]], {name: tensors[name][index] for name in TENSORS}
    except (_Damage, ValueError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError) as error:
        raise RepositoryError(f"the file of edits {path} is damaged ({error}): restore it from a copy") from error
    except (OSError, SafetensorError) as error:
        raise RepositoryError(
            f"{path} is not a readable file of edits ({error}): choose a file saved by this program"
        ) from error


def _check_header(path: str | Path) -> None:
    """Refuse a header so long that reading it would take the memory of thousands of edits."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise OSError(f"its header claims {length:,} bytes")


def _count(claimed: Mapping[str, tuple[str, tuple[int, ...]]], config: EditorConfig) -> int:
    """How many experts the tensors' types and shapes are those of."""
    if not claimed:
        return 0
    if set(claimed) != {*TENSORS, "pictures"}:
        raise _Damage(f"it holds {', '.join(sorted(claimed))[:200]} instead of {', '.join(TENSORS)}, pictures")
    shape = claimed["U"][1]
    count = shape[0] if shape else 0
    for name, wanted in shapes_of(config).items():
        kind, shape = claimed[name]
        if kind not in ("F16", "BF16", "F32", "F64"):
            raise _Damage(f"{name} holds numbers of type {kind}")
        if shape[1:] != wanted:
            raise RepositoryError(
                f"the experts' {name} has shape {shape[1:]}, this editor's is {wanted}: "
                "the edits were made with another editor"
            )
        if shape[0] != count:
            raise _Damage(f"it holds {count} times U but {shape[0]} times {name}")
    if claimed["pictures"][0] != "U8" or len(claimed["pictures"][1]) != 1:
        raise _Damage("its pictures are no row of bytes")
    return count


def _rows(text: str, count: int, picture: str) -> list[dict[str, Any]]:
    """What the file says of each of its ``count`` experts, with every value of the type that :meth:`save` writes.

    What it says under ``picture`` is left to :func:`_sizes`.
    """
    # Long before a row has this many characters its prompt is too long; a list of a million rows is not parsed.
    if len(text) > 100 + count * ROW_CHARACTERS:
        raise _Damage(f"it describes more than its {count} experts")
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Damage("its descriptions of the experts are no JSON") from error
    if not isinstance(rows, list) or len(rows) != count:
        raise _Damage(f"it does not describe its {count} experts")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != {"id", "prompt", "target", "active", "scale", picture}:
            raise _Damage(f"the description of expert {number} lacks a part")
        if not isinstance(row["id"], str) or not _ID.fullmatch(row["id"]):
            raise _Damage(f"expert {number} has no proper id")
        if not (_usable(row["prompt"]) and _usable(row["target"])):
            raise _Damage(f"the prompt or answer of expert {number} is empty, no text, or too long")
        if type(row["active"]) is not bool:
            raise _Damage(f"expert {number} is neither on nor off")
        if type(row["scale"]) not in (int, float) or not abs(row["scale"]) <= MAX_SCALE:
            raise _Damage(f"the scale of expert {number} is no number up to {MAX_SCALE:g}")
    if len({row["id"] for row in rows}) != count:
        raise _Damage("two experts have the same id")
    return rows


def _sizes(metadata: Mapping[str, str], rows: list[dict[str, Any]]) -> list[int]:
    """The bytes of each stored picture; each row gets the number of its own as ``picture``."""
    if metadata["format"] == FORMER:
        sizes = [row.pop("picture_bytes") for row in rows]
        for number, row in enumerate(rows):
            row["picture"] = number
    else:
        text = metadata.get("pictures", "[]")
        if len(text) > 100 + len(rows) * SIZE_CHARACTERS:
            raise _Damage(f"it has more pictures than its {len(rows)} experts")
        try:
            sizes = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _Damage("its list of pictures is no JSON") from error
    if not isinstance(sizes, list) or any(type(size) is not int or size < 0 for size in sizes):
        raise _Damage("a picture has no size")
    if any(type(row["picture"]) is not int or not 0 <= row["picture"] < len(sizes) for row in rows):
        raise _Damage("an expert has no picture")
    return sizes


def _usable(text: Any) -> bool:
    """Whether a value is a text that can be shown, with something in it and not too much."""
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARACTERS:
        return False
    # Half of a surrogate pair is no character and can be sent to no page.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _pictures(data: np.ndarray, sizes: Sequence[int], most: int) -> list[Image.Image]:
    """The pictures out of their bytes [N], RGB; those of more than ``most`` pixels together are kept smaller."""
    if sum(sizes) != len(data):
        raise _Damage("its pictures are longer or shorter than it says")
    places = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
    files = [data.data[left:right] for left, right in pairwise(places)]
    pixels = 0
    for file in files:
        with _opened(file) as picture:
            if max(picture.size) > STORED_SIDE:
                raise _Damage(f"a picture has {picture.width} x {picture.height} pixels, {STORED_SIDE} a side is the limit")
            pixels += picture.width * picture.height
    side = STORED_SIDE if pixels <= most else max(int((most / len(files)) ** 0.5), 1)
    shown = []
    for file in files:
        with _opened(file) as picture:
            shown.append(picture.convert("RGB"))
        shown[-1].thumbnail((side, side))
    return shown


def _opened(file: memoryview) -> Image.Image:
    """A stored picture, not yet decoded."""
    return Image.open(io.BytesIO(file), formats=["PNG"])
