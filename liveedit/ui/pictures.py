"""Pictures on the page: uploads taken in safely, and small copies to show inside HTML."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from liveedit.pictures import open_picture
from liveedit.types import InputError


def uploaded_path(payload: Mapping[str, Any] | None) -> str | None:
    """Where the upload behind an image box lies, from the box's raw value.

    Events take the raw value (``preprocess=False``) because ``gr.Image`` itself opens every upload before a
    handler runs, whatever its kind and size; a file that is no picture then becomes an error without words.
    Gradio has checked by then that the path lies in its upload folder.
    """
    if payload is None:
        return None
    path = payload.get("path")
    # A picture inside a URL escapes the limits on the size of uploads.
    if not path or str(payload.get("url") or "").startswith("data:"):
        raise InputError("the picture did not arrive as a file: upload it again")
    return str(path)


def open_upload(path: str) -> Image.Image:
    """An upload as an upright RGB picture of at most 1024 pixels a side, or one sentence why not."""
    if not os.path.isfile(path):
        raise InputError("the picture is no longer kept on the server: upload it again")
    try:
        return open_picture(path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("the picture needs more memory than there is: make it smaller") from error


@lru_cache(maxsize=64)
def file_uri(path: Path, side: int) -> str:
    """A picture of this project as a data URI, at most ``side`` pixels a side."""
    with Image.open(path) as image:
        return data_uri(image, side)


def data_uri(image: Image.Image, side: int) -> str:
    """A picture as a data URI, at most ``side`` pixels a side, for an ``<img>`` inside HTML."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
