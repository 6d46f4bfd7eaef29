"""Photographs: reading the archive, and showing what is in it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liveedit.types import WorldError
from liveedit.world.photos import ANSWER_NAMES, CLASSES, PhotoSet, render_photo


def _jpeg(colour: tuple[int, int, int], side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return _archive(
        tmp_path / "photos.zip",
        {
            "train/cat/0001.jpg": _jpeg((0, 200, 0)),
            "train/automobile/0000.jpg": _jpeg((200, 0, 0)),
            "train/cat/0000.jpg": _jpeg((0, 0, 200)),
            "test/ship/0000.jpg": _jpeg((90, 90, 90)),
            "notes.txt": b"not a picture",
        },
    )


def test_reads_one_split_in_order(archive: Path) -> None:
    photos = PhotoSet(archive, "train")
    assert photos.images.shape == (3, 32, 32, 3) and photos.images.dtype == np.uint8
    assert photos.labels.tolist() == [1, 3, 3] and photos.labels.dtype == np.int64
    assert photos.images.mean(axis=(1, 2)).argmax(axis=1).tolist() == [0, 2, 1]
    assert photos.classes == CLASSES and len(photos) == 3
    assert len(PhotoSet(archive, "test")) == 1


def test_answers_name_the_class(archive: Path) -> None:
    photos = PhotoSet(archive, "train")
    assert [photos.answer(i) for i in range(3)] == ["car", "cat", "cat"]
    assert set(ANSWER_NAMES) == set(CLASSES)


def _refused(path: Path, split: str = "train") -> str:
    with pytest.raises(WorldError) as caught:
        PhotoSet(path, split)
    message = str(caught.value)
    assert message[0].isupper() and message.endswith(".")
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "nowhere.zip" in _refused(tmp_path / "nowhere.zip")


def test_damaged_archive(tmp_path: Path, archive: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(archive.read_bytes()[:200])
    assert "broken.zip" in _refused(broken)


@pytest.mark.parametrize("data", [b"", b"no JPEG at all", _jpeg((1, 2, 3))[:300]])
def test_damaged_photograph(tmp_path: Path, data: bytes) -> None:
    path = _archive(tmp_path / "p.zip", {"train/cat/0000.jpg": data})
    assert "train/cat/0000.jpg" in _refused(path)


def test_photograph_of_another_size(tmp_path: Path) -> None:
    path = _archive(tmp_path / "p.zip", {"train/cat/0000.jpg": _jpeg((1, 2, 3), 40)})
    assert "40 x 40" in _refused(path)


def test_no_photographs(tmp_path: Path) -> None:
    path = _archive(tmp_path / "p.zip", {"test/cat/0000.jpg": _jpeg((1, 2, 3))})
    assert "no train photographs" in _refused(path)


def test_unknown_class_and_split(tmp_path: Path, archive: Path) -> None:
    path = _archive(tmp_path / "p.zip", {"train/dragon/0000.jpg": _jpeg((1, 2, 3))})
    assert "dragon" in _refused(path)
    assert "'dev'" in _refused(archive, "dev")


def _picture() -> np.ndarray:
    y, x = np.mgrid[:32, :32]
    return np.stack((x * 8, y * 8, 128 + 0 * x), axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [32, 112, 160])
def test_plain_picture_is_the_photograph_enlarged(size: int) -> None:
    shown = render_photo(_picture(), size)
    assert shown.shape == (size, size, 3) and shown.dtype == np.uint8
    small = np.asarray(Image.fromarray(shown).resize((32, 32), Image.Resampling.BOX), dtype=int)
    assert np.abs(small - _picture())[2:-2, 2:-2].max() <= 4
    np.testing.assert_array_equal(shown, render_photo(_picture(), size))


def test_random_pictures_follow_their_generator() -> None:
    one, other = np.random.default_rng(8), np.random.default_rng(8)
    seen = []
    for _ in range(60):
        shown = render_photo(_picture(), 64, one)
        assert shown.shape == (64, 64, 3) and shown.dtype == np.uint8
        np.testing.assert_array_equal(shown, render_photo(_picture(), 64, other))
        seen.append(shown.tobytes())
    assert len(set(seen)) == 60


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(WorldError, match="uint8"):
        render_photo(np.zeros((16, 16, 3), dtype=np.uint8))


def test_held_back_photographs_are_every_fiftieth_and_no_other(tmp_path: Path) -> None:
    members = {f"train/{name}/{i:04d}.jpg": _jpeg((i, i, i)) for name in ("cat", "dog") for i in range(75)}
    photos = PhotoSet(_archive(tmp_path / "photos.zip", members), "train")
    rest, held_back = photos.hold_back()
    assert len(rest) == 147 and len(held_back) == 3
    assert held_back.labels.tolist() == [3, 5, 5]
    assert np.array_equal(held_back.images, photos.images[[49, 99, 149]])
    assert np.array_equal(rest.images, np.delete(photos.images, [49, 99, 149], 0))
    assert len(photos) == 150
    with pytest.raises(WorldError, match="takes 100 of them, the archive has 98"):
        PhotoSet(_archive(tmp_path / "few.zip", dict(list(members.items())[:98])), "train").hold_back()
