"""Opening of pictures that people bring, and the heatmap laid over one."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from liveedit import pictures
from liveedit.pictures import open_picture, overlay_heatmap
from liveedit.types import InputError

ROOT = Path(__file__).resolve().parents[1]


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(path: Path, width: int, height: int) -> Path:
    """A PNG of a few hundred bytes that claims the given size."""

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_open_as_rgb(kind: str, tmp_path: Path) -> None:
    got = open_picture(saved(tmp_path / "p", Image.new("RGB", (60, 40), (200, 30, 30)), format=kind))
    assert (got.mode, got.size) == ("RGB", (60, 40))
    assert np.abs(np.asarray(got, int).mean((0, 1)) - (200, 30, 30)).max() < 6


def test_large_pictures_are_shrunk_and_small_ones_left(tmp_path: Path) -> None:
    assert open_picture(saved(tmp_path / "p.jpg", Image.new("RGB", (4000, 1000)))).size == (1024, 256)
    assert open_picture(saved(tmp_path / "p.png", Image.new("RGB", (1500, 3000)))).size == (512, 1024)
    assert open_picture(saved(tmp_path / "s.png", Image.new("RGB", (8, 8)))).size == (8, 8)


def test_a_camera_s_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 30), "black")
    image.paste("white", (0, 0, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    got = open_picture(saved(tmp_path / "p.jpg", image, exif=exif, quality=95))
    assert got.size == (30, 60)
    values = np.asarray(got.convert("L"))
    assert values[:25].mean() > 240
    assert values[35:].mean() < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.full((9, 9), 40000, np.uint16)) if mode == "I;16" else Image.new(mode, (9, 9))
    got = open_picture(saved(tmp_path / "p", image, format="JPEG" if mode == "CMYK" else "PNG"))
    assert got.mode == "RGB"
    wanted = {"RGBA": 255, "LA": 255, "I;16": 155, "CMYK": 255}.get(mode, 0)
    assert abs(int(np.asarray(got)[4, 4, 0]) - wanted) <= 1


@pytest.mark.parametrize(("width", "height"), [(7100, 7100), (15000, 10000), (60000, 60000)])
def test_more_than_fifty_megapixels_are_refused_before_decoding(width: int, height: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 50 megapixels"):
        open_picture(huge_png(tmp_path / "p.png", width, height))


def test_a_webp_has_a_limit_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_WEBP", 1_000_000)
    image = Image.new("RGB", (1100, 1000))
    with pytest.raises(InputError, match="more than 1 megapixels"):
        open_picture(saved(tmp_path / "p.webp", image))
    assert open_picture(saved(tmp_path / "p.png", image)).size == (1024, 931)


def flat_and_small(image: Image.Image, side: int) -> Image.Image:
    """What is to be made of a picture, by Pillow's own means."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("RGBA", "LA") or "transparency" in upright.info:
        layered = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    made = upright.convert("RGB")
    made.thumbnail((side, side), Image.Resampling.LANCZOS)
    return made


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P"])
@pytest.mark.parametrize(("size", "side"), [((2100, 1301), 1024), ((2049, 700), 512), ((1023, 1025), 1024)])
@pytest.mark.parametrize("turn", [1, 6])
def test_pictures_of_usual_size_are_what_pillow_makes_of_them(
    mode: str, size: tuple[int, int], side: int, turn: int, tmp_path: Path
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"transparency": 3} if mode == "P" else {}
    path = saved(tmp_path / "p.png", noise.convert("RGB").quantize(16) if mode == "P" else noise.convert(mode),
                 exif=exif, compress_level=1, **options)  # fmt: skip
    with Image.open(path) as image:
        wanted = flat_and_small(image, side)
    got = open_picture(path, side)
    assert (got.size, got.info) == (wanted.size, {}) and got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("turn", [1, 8])
def test_large_pictures_differ_by_less_than_can_be_seen(turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGE", 100 * 100)
    monkeypatch.setattr(pictures, "TILE", 100)
    ramp = np.linspace(0, 255, 901)
    values = np.stack([np.tile(ramp, (703, 1)), np.full((703, 901), 90.0), np.tile(ramp[::-1], (703, 1)), np.tile(ramp, (703, 1))], -1)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = saved(tmp_path / "p.png", Image.fromarray(values.astype(np.uint8)), exif=exif)
    with Image.open(path) as image:
        wanted = flat_and_small(image, 100)
    got = open_picture(path, 100)
    assert got.size == wanted.size
    assert np.abs(np.asarray(got, int) - np.asarray(wanted, int)).max() <= 3


PEAK = """
import resource, sys
from liveedit.pictures import open_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
open_picture(sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units elsewhere")
@pytest.mark.parametrize(("mode", "most"), [("RGBA", 180), ("I;16", 120)])
def test_a_large_picture_is_held_once(mode: str, most: int, tmp_path: Path) -> None:
    """In megabytes; 25 megapixels are 100 of them, or 50 in grey of 16 bits, and all copies took up to six times that."""
    image = Image.fromarray(np.full((5000, 5000), 40000, np.uint16)) if mode == "I;16" else Image.new(mode, (5000, 5000))
    path = saved(tmp_path / "p.png", image, compress_level=1)
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < most


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_pictures_are_refused(kind: str, share: float, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8))
    path = saved(tmp_path / "p", noise, format=kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError) as caught:
        open_picture(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\x00" * 999]
)
def test_files_that_are_no_pictures_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(InputError, match="choose a"):
        open_picture(tmp_path / "p.png")


def test_a_picture_that_is_also_something_else_is_only_a_picture(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as held:
        held.writestr("index.html", "<script>alert(1)</script>")
    path = saved(tmp_path / "p.png", Image.new("RGB", (5, 4), "red"))
    path.write_bytes(path.read_bytes() + archive.getvalue())
    assert zipfile.is_zipfile(path)
    got = open_picture(path)
    assert (got.size, got.getpixel((2, 2)), got.info) == ((5, 4), (255, 0, 0), {})
    path.write_bytes(b"GIF89a/*" + b"\x00" * 8 + b"*/=1;alert(1)")
    with pytest.raises(InputError):
        open_picture(path)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_rotation_and_reflection_of_a_camera_is_undone(turn: int, tmp_path: Path) -> None:
    """The white corner of the scene is where a viewer would see it, on top and left."""
    scene = Image.new("L", (32, 32))
    scene.paste(255, (0, 0, 16, 16))
    scene.paste(128, (16, 0, 32, 16))
    flip = Image.Transpose
    stored = {1: None, 2: flip.FLIP_LEFT_RIGHT, 3: flip.ROTATE_180, 4: flip.FLIP_TOP_BOTTOM, 5: flip.TRANSPOSE,
              6: flip.ROTATE_90, 7: flip.TRANSVERSE, 8: flip.ROTATE_270}[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    image = scene if stored is None else scene.transpose(stored)
    got = np.asarray(open_picture(saved(tmp_path / "p.png", image, exif=exif)).convert("L"), int)
    assert [int(got[y, x]) for y, x in ((8, 8), (8, 24), (24, 8), (24, 24))] == [255, 128, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_taken(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "lime", "blue")]
    path = saved(tmp_path / "p", frames[0], format=kind, save_all=True, append_images=frames[1:], duration=40)
    got = np.asarray(open_picture(path), int)
    assert got.shape == (10, 12, 3) and np.abs(got[5, 6] - (255, 0, 0)).max() < 20


def test_odd_pictures_open(tmp_path: Path) -> None:
    assert open_picture(saved(tmp_path / "one.png", Image.new("RGBA", (1, 1), (0, 0, 0, 0)))).getpixel((0, 0)) == (255,) * 3
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    palette.putdata([0, 1, 2])
    got = open_picture(saved(tmp_path / "p.png", palette, transparency=bytes([255, 0, 255])))
    assert [got.getpixel((x, 0)) for x in range(3)] == [(255, 0, 0), (255, 255, 255), (0, 255, 0)]
    # Sixteen bits a channel, which Pillow reads as eight.
    row = struct.pack(">B6H", 0, 65535, 0, 0, 0, 32896, 0)
    body = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)) + png_chunk(b"IDAT", zlib.compress(row))
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b""))
    got = open_picture(tmp_path / "deep.png")
    assert [got.getpixel((x, 0)) for x in range(2)] == [(255, 0, 0), (0, 128, 0)]
    thin = open_picture(saved(tmp_path / "thin.png", Image.new("RGB", (5000, 1))))
    assert thin.size == (1024, 1)


@pytest.mark.parametrize("path", ["data:image/png;base64," + "A" * 5000, "http://127.0.0.1/p.png", "p\0.png", ""])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="there is no picture"):
        open_picture(path)


def test_other_formats_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "p.bmp", Image.new("RGB", (4, 4)))
    saved(tmp_path / "p.gif", Image.new("RGB", (4, 4)))
    for name in ("p.bmp", "p.gif", "none.png", "."):
        with pytest.raises(InputError):
            open_picture(tmp_path / name)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "WEBP"):
        whole = np.frombuffer(saved(tmp_path / "p", noise, format=kind).read_bytes(), np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[random.integers(0, len(whole), 4)] = random.integers(0, 256, 4)
            (tmp_path / "b").write_bytes(broken.tobytes())
            try:
                assert open_picture(tmp_path / "b").mode == "RGB"
            except InputError:
                continue


def test_the_overlay_keeps_the_size_and_is_strongest_where_hot() -> None:
    picture = Image.new("RGB", (80, 40), (128, 128, 128))
    heatmap = np.zeros((4, 8), np.float32)
    heatmap[1, 6] = 1.0
    got = np.asarray(overlay_heatmap(picture, heatmap), int)
    assert got.shape == (40, 80, 3)
    hot, cold = got[15, 65], got[35, 5]
    assert hot[0] > 180 > 128 > cold[1]
    assert np.abs(hot - 128).sum() > np.abs(cold - 128).sum()


def test_the_overlay_lies_over_its_region() -> None:
    picture = Image.new("RGB", (80, 40), (128, 128, 128))
    half = np.asarray(overlay_heatmap(picture, np.ones((2, 2), np.float32), (0.5, 0.25, 1.0, 0.75)), int)
    changed = (half != 128).any(-1)
    assert changed[10:30, 40:].all() and changed.sum() == 20 * 40
    # A region that reaches beyond the picture: the upper of two rows lies outside of it.
    rows = np.array([[1.0], [0.0]], np.float32)
    lower, plain = (np.asarray(overlay_heatmap(picture, *row), int) for row in ((rows, (0, -1, 1, 1)), (rows[1:],)))
    assert np.array_equal(lower[20:], plain[20:])
    assert lower[0, 0, 1] > plain[0, 0, 1] + 20
    line = overlay_heatmap(Image.new("RGB", (2, 2)), np.ones((2, 2), np.float32), (0.4, 0.4, 0.6, 0.6))
    assert line.size == (2, 2)
