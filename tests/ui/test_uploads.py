"""Uploads: what is taken, what is refused and with which sentence; nothing large is decoded."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image

from liveedit.types import InputError
from liveedit.ui.pictures import data_uri, open_upload, uploaded_path


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims ``width`` x ``height`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8000, 7000), (40000, 40000)])
def test_more_than_50_megapixels_are_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(width, height))
    tracemalloc.start()
    with pytest.raises(InputError, match="50 megapixels"):
        open_upload(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_truncated_picture_is_refused(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    Image.effect_noise((200, 200), 60).save(whole)
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged or incomplete"):
        open_upload(str(cut))


@pytest.mark.parametrize("content", [b"", b"hello", b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', b"GIF89a" + b"\0" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(InputError):
        open_upload(str(path))


def test_rotation_of_the_camera_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    image = Image.new("RGB", (60, 30), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    image.save(path, exif=exif)
    assert open_upload(str(path)).size == (30, 60)


def test_pictures_are_shrunk_and_become_rgb(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGBA", (3000, 1500), (255, 0, 0, 128)).save(path)
    opened = open_upload(str(path))
    assert opened.mode == "RGB"
    assert opened.size == (1024, 512)


def test_an_upload_is_a_path_and_no_url() -> None:
    assert uploaded_path(None) is None
    assert uploaded_path({"path": "a.png", "url": "http://127.0.0.1/a.png"}) == "a.png"
    for payload in ({"path": None}, {"path": "a.png", "url": "data:image/png;base64,AAAA"}):
        with pytest.raises(InputError, match="upload it again"):
            uploaded_path(payload)


def test_data_uri_is_small() -> None:
    uri = data_uri(Image.new("RGB", (900, 600), "red"), 64)
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 2000
