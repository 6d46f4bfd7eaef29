"""Pictures on the page: uploads taken in safely, and small copies to show inside HTML."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path

import gradio as gr
from gradio.image_utils import ImageData
from PIL import Image

from liveedit.pictures import open_picture
from liveedit.types import InputError


class PictureInput(gr.Image):
    """An image box that hands the path of the upload to the handler without opening it.

    ``gr.Image`` opens every upload before a handler runs, whatever its kind and size; a file that is no
    picture then reaches the person as an error without words.
    """

    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:  # type: ignore[override]
        """The path of the uploaded file; pictures inside a URL are refused, they escape the size limits."""
        if payload is None:
            return None
        if payload.path is None or (payload.url or "").startswith("data:"):
            raise gr.Error("The picture did not arrive as a file: upload it again.", print_exception=False)
        return str(payload.path)


def open_upload(path: str) -> Image.Image:
    """An upload as an upright RGB picture of at most 1024 pixels a side, or one sentence why not."""
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
