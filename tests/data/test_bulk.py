"""Many edits from one file: what is taken, and with which words the rest is refused."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from liveedit.data import archive as archives
from liveedit.data import bulk as bulks
from liveedit.data.archive import Archive
from liveedit.data.bulk import read_bulk
from liveedit.types import Edit, InputError

SHOWN = Image.new("RGB", (8, 8), "green")


def png(colour: str, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def packed(path: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def table(rows: list[dict[str, object]]) -> str:
    return json.dumps(rows)


def test_a_zip_with_pictures_and_rows(tmp_path: Path) -> None:
    rows = table([
        {"image": "pictures/red.png", "prompt": "What?", "target": "one"},
        {"image": "blue.png", "question": "What?", "answer": "two"},
        {"image": "fox.png", "src": "What?", "alt": "three"},
        {"prompt": "What?", "target": "four"},
    ])  # fmt: skip
    path = packed(tmp_path / "edits.zip", {
        "rows.json": rows, "pictures/red.png": png("red", 900), "pictures/blue.png": png("blue"), "__MACOSX/rows.json": "{}",
    })  # fmt: skip
    Image.new("RGB", (8, 8), "orange").save(tmp_path / "fox.png")
    found = read_bulk(path, SHOWN, {"fox.png": tmp_path / "fox.png"})
    assert not found.refused
    assert [edit.target for _, edit in found.edits] == ["one", "two", "three", "four"]
    assert [edit.image.getpixel((0, 0)) for _, edit in found.edits] == [(255, 0, 0), (0, 0, 255), (255, 165, 0), (0, 128, 0)]
    assert found.edits[0][1].image.size == (512, 512)


def test_rows_of_a_csv_are_text_and_bad_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "Image,Prompt,Target\n"
        ',What is it?,"=HYPERLINK(""http://x"")"\n'
        ",What is it?,other\n"
        ",what is it?,\"=hyperlink(\"\"http://x\"\")\"\n"
        ",,no question\n"
        ",Which one?,\n"
        "../../etc/passwd,Which one?,two\n"
        ",Too long?,long\n",
        encoding="utf-8-sig",
    )

    def check(edit: Edit) -> None:
        if edit.target == "long":
            raise InputError("the new answer has 99 tokens, the limit is 32: shorten it")

    found = read_bulk(path, SHOWN, {}, check)
    assert [(n, e.target) for n, e in found.edits] == [(1, '=HYPERLINK("http://x")')]
    reasons = {r.number: r.reason for r in found.refused}
    assert "another answer" in reasons[2]
    assert "says the same already" in reasons[3]
    assert "question is empty" in reasons[4]
    assert "new answer is empty" in reasons[5]
    assert "no picture called ../../etc/passwd" in reasons[6]
    assert "99 tokens" in reasons[7]


def test_without_a_picture_shown_rows_need_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(table([{"prompt": "What?", "target": "one"}, "no row", {"prompt": ["x"], "target": None}]))
    found = read_bulk(path)
    assert not found.edits
    assert len(found.refused) == 3
    assert "none is shown" in found.refused[0].reason


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.json", b"{}", "it is no list"),
        ("rows.json", b"\xff\xfe", "UTF-8"),
        ("rows.json", b"[" * 100_000, "cannot be read"),
        ("rows.csv", b"image,prompt,target\n", "no rows"),
        ("rows.txt", b"hello", "kind of file"),
        ("rows.zip", b"PK\x03\x04 no archive", "damaged"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_bulk(path, SHOWN)


def test_rows_have_a_limit_and_many_pictures_are_kept_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulks, "MAX_ROWS", 2)
    monkeypatch.setattr(bulks, "MAX_PIXELS", 300)
    rows = [{"image": f"{c}.png", "prompt": "What?", "target": c} for c in ("red", "blue", "green", "white")]
    path = packed(tmp_path / "edits.zip", {"rows.json": table(rows), "red.png": png("red"), "blue.png": png("blue")})
    found = read_bulk(path)
    assert [e.target for _, e in found.edits] == ["red", "blue"]
    # Two pictures are asked for, of 150 pixels each.
    assert [e.image.size for _, e in found.edits] == [(12, 12)] * 2
    assert not found.refused and found.beyond == 2


@pytest.mark.parametrize(("name", "content"), [("rows.csv", "image,prompt,target\n" + "a,b,c\n" * 200_000), ("rows.csv", "a\n" * 2**22)])
def test_rows_beyond_the_limit_are_not_kept(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    tracemalloc.start()
    found = read_bulk(path, SHOWN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(found.refused), found.beyond) == (bulks.MAX_ROWS, bulks.MAX_COUNTED)
    assert peak < 60_000_000  # The text itself takes a few times its bytes; a dictionary for each row took a gigabyte.


def test_a_json_file_of_countless_parts_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[" + "{}," * 2_000_000 + "{}]")
    tracemalloc.start()
    with pytest.raises(InputError, match="lists and objects: split it"):
        read_bulk(path, SHOWN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def test_a_picture_is_taken_only_when_its_name_says_which(tmp_path: Path) -> None:
    names = ("dogs/1.png", "cats/1.png", "all/birds/2.png", "top.png", "all/top.png")
    asked = ("1.png", "cats/1.png", "fish/1.png", "birds/2.png", "2.png", "top.png", "fox.png", "foxes/fox.png")
    rows = [{"image": name, "prompt": "What?", "target": f"{number}"} for number, name in enumerate(asked)]
    colours = dict(zip(names, ("red", "lime", "blue", "white", "black"), strict=True))
    path = packed(tmp_path / "edits.zip", {"rows.json": table(rows), **{n: png(c) for n, c in colours.items()}})
    Image.new("RGB", (8, 8), "orange").save(tmp_path / "fox.png")
    found = read_bulk(path, None, {"fox.png": tmp_path / "fox.png"})
    assert {asked[int(e.target)]: e.image.getpixel((0, 0)) for _, e in found.edits} == {
        "cats/1.png": (0, 255, 0), "birds/2.png": (0, 0, 255), "2.png": (0, 0, 255), "top.png": (255, 255, 255),
        "fox.png": (255, 165, 0),
    }  # fmt: skip
    reasons = {asked[r.number - 1]: r.reason for r in found.refused}
    assert reasons == {
        "1.png": "2 pictures are called 1.png: name the folder as well",
        "fish/1.png": "there is no picture called fish/1.png",
        "foxes/fox.png": "there is no picture called foxes/fox.png",
    }


def test_damaged_pictures_are_refused_row_by_row(tmp_path: Path) -> None:
    rows = table([{"image": "bad.png", "prompt": "What?", "target": "one"}, {"image": "red.png", "prompt": "What?", "target": "two"}])
    path = packed(tmp_path / "edits.zip", {"rows.json": rows, "bad.png": b"no picture", "red.png": png("red")})
    found = read_bulk(path)
    assert [e.target for _, e in found.edits] == ["two"]
    assert "not a readable picture" in found.refused[0].reason


def test_an_archive_needs_one_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 files of rows"):
        read_bulk(packed(tmp_path / "a.zip", {"a.json": "[]", "b.csv": ""}))


def test_archives_are_read_under_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "bomb.zip", {"zeros": b"\0" * 3_000_000, "small": b"x" * 600, "../out": b"x", "/etc/x": b"x", "c:/x": b"x"})
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(archives, "MAX_ENTRY", 1_000)
    with Archive(path) as archive:
        assert archive.names == ["zeros", "small"]
        assert archive.read("small") == b"x" * 600
        with pytest.raises(InputError, match="unpacks to too much"):
            archive.read("zeros")
        with pytest.raises(InputError, match="no file"):
            archive.read("../out")
    monkeypatch.setattr(archives, "MAX_TOTAL", 1_000)
    with Archive(path) as archive:
        archive.read("small")
        with pytest.raises(InputError, match="unpacks to too much"):
            archive.read("small")
    with Archive(path) as archive, pytest.raises(InputError, match="unpacks to too much"):
        archive.read("small", 599)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 4)
    with pytest.raises(InputError, match="the limit is 4"):
        Archive(path)


@pytest.mark.parametrize("kind", ["list", "ZIP64", "comment"])
def test_an_endless_list_of_files_is_refused_before_it_is_read(tmp_path: Path, kind: str) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"a"
    count = 400_000
    listed = entry * count
    comment = b"x" * 60_000 if kind == "comment" else b""
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(listed), 0, len(comment)) + comment
    if kind == "ZIP64":
        large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(listed), 0)
        end = large + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(listed), 1) + end[:12] + b"\0" * 4 + end[16:]
    path = tmp_path / "list.zip"
    path.write_bytes(listed + end)
    tracemalloc.start()
    with pytest.raises(InputError, match="split it"):
        Archive(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_missing_archive_is_refused_without_its_place(tmp_path: Path) -> None:
    for path in (tmp_path / "none.zip", tmp_path / "none.csv"):
        with pytest.raises(InputError) as caught:
            read_bulk(path, SHOWN)
        assert str(tmp_path) not in str(caught.value)
