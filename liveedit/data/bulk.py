"""Many edits from one file: a JSON list, a CSV table, or a ZIP of either with its pictures.

A row has a picture's name, a question and the new answer. What is wrong with a row is said about that row, and the
others are taken all the same. Cells are text and nothing else: formulas, markup and paths mean nothing here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from PIL.Image import Image

from liveedit.data.archive import Archive
from liveedit.pictures import open_picture, read_picture
from liveedit.types import Edit, InputError, LiveEditError

MAX_ROWS = 500
MAX_COUNTED = 10_000  # rows that are counted beyond those; a file may hold millions of short ones
MAX_BYTES = 8 * 2**20  # of a file of rows
MAX_PARTS = 100_000  # lists and objects of a JSON file, each of which takes hundreds of bytes in memory
MAX_SIDE = 512  # pixels: what a vision tower sees of a picture
MAX_PIXELS = 30_000_000  # of all pictures together: a hundred of that size, more when they are smaller
# What a column may be called; the last is the name in the published benchmarks.
COLUMNS = {
    "image": ("image", "picture", "file"),
    "prompt": ("prompt", "question", "src"),
    "target": ("target", "answer", "alt"),
}


@dataclass(frozen=True)
class Refusal:
    """A row that cannot be used: its number (from 1), what it says, and why not."""

    number: int
    text: str
    reason: str


@dataclass
class Bulk:
    """The edits of a file with their row numbers, the rows that were refused, and how many there are beyond the limit (as far as counted)."""

    edits: list[tuple[int, Edit]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    beyond: int = 0


def read_bulk(
    path: str | Path,
    shown: Image | None = None,
    library: Mapping[str, Path] | None = None,
    check: Callable[[Edit], None] | None = None,
) -> Bulk:
    """Read a file of edits. A row without a picture's name is about the picture ``shown``.

    Names are looked up in the archive, and without a folder in ``library``, never on the disk. ``check`` may raise for
    an edit that the model cannot take. Raises :class:`InputError` when the file as a whole cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".zip":
        with Archive(path) as archive:
            tables = [n for n in archive.names if n.lower().endswith((".json", ".csv")) and not _hidden(n)]
            if len(tables) != 1:
                raise InputError(f"the archive has {len(tables)} files of rows: put exactly one JSON or CSV file in it")
            return _collect(_rows(tables[0], archive.read(tables[0])), _Pictures(shown, library or {}, archive), check)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"the file of rows has more than {MAX_BYTES >> 20} MB: split it")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror}): choose it again") from error
    return _collect(_rows(path.name, data), _Pictures(shown, library or {}, None), check)


class _Pictures:
    """Pictures by name, each opened once; the more there are, the smaller they are kept."""

    def __init__(self, shown: Image | None, library: Mapping[str, Path], archive: Archive | None) -> None:
        self.shown, self.library, self.archive = shown, library, archive
        self.known: dict[str, Image] = {}
        self.side = MAX_SIDE

    def expect(self, count: int) -> None:
        """Make room for ``count`` pictures."""
        self.side = min(MAX_SIDE, int((MAX_PIXELS / max(count, 1)) ** 0.5))

    def get(self, name: str) -> Image:
        if not name:
            if self.shown is None:
                raise InputError("the row names no picture and none is shown")
            return self.shown
        if name not in self.known:
            self.known[name] = self._open(name)
        return self.known[name]

    def _open(self, name: str) -> Image:
        """The picture of exactly this name, or the only one in whose name this one is the end."""
        wanted = PurePosixPath(name.replace("\\", "/"))
        parts = wanted.parts
        names = {n: PurePosixPath(n.replace("\\", "/")).parts for n in self.archive.names} if self.archive else {}
        found = [n for n, given in names.items() if given == parts]
        found = found or [n for n, given in names.items() if given[-len(parts) :] == parts and not _hidden(n)]
        if len(found) > 1:
            raise InputError(f"{len(found)} pictures are called {name[:80]}: name the folder as well")
        if self.archive and found:
            return read_picture(self.archive.read(found[0]), wanted.name, self.side)
        if name in self.library:
            return open_picture(self.library[name], self.side)
        raise InputError(f"there is no picture called {name[:80]}")


def _collect(rows: Iterator[dict[str, str]], pictures: _Pictures, check: Callable[[Edit], None] | None) -> Bulk:
    listed = list(islice(rows, MAX_ROWS))
    bulk = Bulk(beyond=sum(1 for _ in islice(rows, MAX_COUNTED)))
    pictures.expect(len({row["image"] for row in listed} - {""}))
    answers: dict[tuple[str, str], tuple[int, str]] = {}
    for number, row in enumerate(listed, 1):
        text = " | ".join(row[name] for name in COLUMNS)[:120]
        try:
            edit = Edit(pictures.get(row["image"]), row["prompt"], row["target"])
            if not edit.prompt or not edit.target:
                raise InputError("the question is empty" if not edit.prompt else "the new answer is empty")
            if check is not None:
                check(edit)
            before = answers.setdefault((row["image"], edit.prompt.casefold()), (number, edit.target))
            if before[0] != number:
                same = before[1].casefold() == edit.target.casefold()
                raise InputError(
                    f"row {before[0]} {'says the same already' if same else 'has the same picture and question with another answer'}"
                )
            bulk.edits.append((number, edit))
        except LiveEditError as error:
            bulk.refused.append(Refusal(number, text, str(error)))
    if not bulk.edits and not bulk.refused:
        raise InputError("the file has no rows: give each edit a row with image, prompt and target")
    return bulk


def _rows(name: str, data: bytes) -> Iterator[dict[str, str]]:
    """The rows of a table as image, prompt and target; a column that is missing is empty."""
    if len(data) > MAX_BYTES:
        raise InputError(f"the file of rows has more than {MAX_BYTES >> 20} MB: split it")
    try:
        text = data.decode("utf-8-sig")
        if name.lower().endswith(".json"):
            if text.count("{") + text.count("[") > MAX_PARTS:
                raise InputError(f"the file of rows has more than {MAX_PARTS:,} lists and objects: split it")
            found = json.loads(text)
            if not isinstance(found, list):
                raise ValueError("it is no list")
        elif name.lower().endswith(".csv"):
            found = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        else:
            raise InputError("this kind of file is not known: choose a JSON, CSV or ZIP file")
        for row in found:
            given = {str(key).strip().lower(): value for key, value in row.items()} if isinstance(row, dict) else {}
            yield {
                column: next((_cell(given[name]) for name in names if name in given), "") for column, names in COLUMNS.items()
            }  # fmt: skip
    except (ValueError, csv.Error, RecursionError) as error:
        raise InputError(f"the file of rows cannot be read ({error}): it must be UTF-8, a JSON list or a CSV table with a header") from error


def _cell(value: Any) -> str:
    return str(value).strip() if isinstance(value, (str, int, float)) else ""


def _hidden(name: str) -> bool:
    """Whether a file is one that systems add to archives by themselves."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
