"""Is a benchmark complete? Which files are missing, how many, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from liveedit.data.benchmarks import Benchmark, Origin
from liveedit.data.rows import SHOWN_PROBLEMS, load_rows, pictures_of, problems_of
from liveedit.types import DataError


@dataclass
class FileReport:
    """One annotation file: where it is (None when missing), its number of samples and what is wrong in it."""

    split: str
    expected: tuple[str, ...]
    path: str | None = None
    samples: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class PictureReport:
    """The pictures of one origin that the annotation files name, and the names of those that are missing."""

    origin: Origin
    wanted: int
    missing: list[str]


@dataclass
class DataReport:
    """What a benchmark's folder has and lacks."""

    benchmark: Benchmark
    root: str
    files: list[FileReport]
    pictures: list[PictureReport]

    @property
    def complete(self) -> bool:
        """Whether every annotation file is there and sound, and every picture is there."""
        return all(f.path and not f.problems for f in self.files) and not any(p.missing for p in self.pictures)

    def to_json(self) -> dict[str, Any]:
        """Everything, with every missing picture by name."""
        return {
            "benchmark": self.benchmark.name,
            "root": self.root,
            "complete": self.complete,
            "files": [asdict(f) for f in self.files],
            "pictures": [
                {"what": p.origin.what, "where": p.origin.where, "wanted": p.wanted,
                 "missing": len(p.missing), "names": p.missing}
                for p in self.pictures
            ],
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.benchmark.title} in {self.root}: {'complete' if self.complete else 'incomplete'}"]
        for file in self.files:
            if file.path is None:
                lines.append(f"  {file.split}: no {' or '.join(file.expected)}, get it at {self.benchmark.annotations}")
                continue
            lines.append(f"  {file.split}: {file.path}, {file.samples:,} samples")
            lines += _listed(file.problems, "problems")
        for part in self.pictures:
            where = f", from {part.origin.where}" if part.missing else ""
            lines.append(
                f"  {part.origin.what}: {len(part.missing):,} of {part.wanted:,} pictures are missing{where}"
            )
            lines += _listed(part.missing, "pictures")
        if not self.complete:
            lines.append("Nothing of a benchmark is distributed here; each part comes from the place named.")
        return "\n".join(lines)


def check_data(
    benchmark: Benchmark, root: str | Path, splits: Sequence[str] = (), json_path: str | Path | None = None
) -> DataReport:
    """Look for the annotation files of ``splits`` (all without any) under ``root`` and for every picture they name.

    ``json_path`` is one annotation file to look at instead. Pictures are not opened. Raises :class:`DataError` when
    there is no folder ``root``, a split is unknown, or ``json_path`` cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: name the one that holds {benchmark.title}")
    files: list[FileReport] = []
    names: dict[str, None] = {}
    for split in ("file",) if json_path is not None else splits or tuple(benchmark.files):
        path = Path(json_path) if json_path is not None else benchmark.find_annotations(root, split)
        report = FileReport(split, benchmark.files.get(split, ()))
        files.append(report)
        if path is None:
            continue
        rows = load_rows(path)
        report.path, report.samples = str(path), len(rows)
        for number, row in enumerate(rows):
            wrong = problems_of(row)
            report.problems += [f"sample {number}: {problem}" for problem in wrong]
            if not wrong:
                names.update(dict.fromkeys(pictures_of(row)))
    return DataReport(benchmark, str(root), files, _pictures(benchmark, root, list(names)))


def _pictures(benchmark: Benchmark, root: Path, names: list[str]) -> list[PictureReport]:
    """What is there of each origin, in the benchmark's order."""
    parts = {origin: PictureReport(origin, 0, []) for origin in benchmark.origins}
    for name in names:
        part = parts[benchmark.origin(name)]
        part.wanted += 1
        if benchmark.picture(root, name) is None:
            part.missing.append(name)
    return [part for part in parts.values() if part.wanted]


def _listed(texts: list[str], what: str) -> list[str]:
    """The first ten of some texts as indented lines, and how many more there are."""
    lines = [f"    {text}" for text in texts[:SHOWN_PROBLEMS]]
    if len(texts) > SHOWN_PROBLEMS:
        lines.append(f"    and {len(texts) - SHOWN_PROBLEMS:,} more {what}")
    return lines
