"""The reader of every benchmark: checks the file and its pictures, chooses a subset, opens no picture."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from liveedit.data.benchmarks import EVQA, Benchmark
from liveedit.data.hard import concerned_by, derived_probes
from liveedit.data.leaks import subset_of
from liveedit.data.rows import load_rows, pictures_of, problems_of, sample_of, told
from liveedit.data.samples import Sample
from liveedit.types import DataError


@dataclass(frozen=True)
class Reading:
    """Samples, and how they were chosen.

    The file has ``rows`` samples, ``in_subset`` of them in the subset; ``dropped`` of these were left out for a
    missing picture, whatever the limit.
    """

    samples: list[Sample]
    source: str
    rows: int
    subset: str
    in_subset: int
    dropped: int

    def to_json(self) -> dict[str, Any]:
        """The counts, with the number of samples for the samples and the file's name for its path."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "samples": len(self.samples), "source": Path(self.source).name}

    def __str__(self) -> str:
        subset = "" if self.subset == "all" else f", {self.in_subset:,} of them in the subset {self.subset}"
        dropped = f", {self.dropped:,} left out for missing pictures" if self.dropped else ""
        return f"{self.source} has {self.rows:,} samples{subset}{dropped}; {len(self.samples):,} are taken"


def read_benchmark(
    benchmark: Benchmark,
    json_path: str | Path,
    root: str | Path,
    *,
    limit: int | None = None,
    subset: str = "all",
    training: str | Path | None = None,
    allow_missing: bool = False,
) -> Reading:
    """Read the first ``limit`` samples of a subset (all without one); the whole file is checked, whatever the limit.

    Every row's keys and answers are looked at, and whether the pictures of the subset's rows exist; none is opened.
    ``training`` is the training file that a subset of :data:`~liveedit.data.leaks.SUBSETS` is computed from. With
    ``allow_missing`` samples without all their pictures are left out and counted. Rows without hard locality get
    what :mod:`liveedit.data.hard` derives.

    Raises :class:`DataError` with the first ten problems and their number when a key, an answer or a picture is
    missing, and where missing pictures come from; and when no sample remains.
    """
    path, root = Path(json_path), Path(root)
    if limit is not None and limit < 1:
        raise DataError(f"{limit} samples were asked for: ask for at least 1")
    rows = load_rows(path)
    belongs = subset_of(subset, training)
    wrong = [problems_of(row) for row in rows]
    concerned = concerned_by((row for row, found in zip(rows, wrong, strict=True) if not found), benchmark)
    samples: list[Sample] = []
    problems: list[str] = []
    missing: dict[str, None] = {}
    dropped = 0
    for number, (row, found) in enumerate(zip(rows, wrong, strict=True)):
        if not found and not belongs(row):
            continue
        files = {} if found else {name: benchmark.picture(root, name) for name in pictures_of(row)}
        absent = [name for name, file in files.items() if file is None]
        if absent and allow_missing:
            dropped += 1
        elif found or absent:
            missing.update(dict.fromkeys(absent))
            found += [f"the picture {benchmark.expected(root, name)} does not exist" for name in absent]
            problems += [f"sample {number}: {problem}" for problem in found]
        elif limit is None or len(samples) < limit:
            sample = sample_of(row, benchmark, {name: file for name, file in files.items() if file})
            samples.append(sample if sample.hard else replace(sample, hard=derived_probes(row, sample, concerned)))
    if problems:
        raise DataError(_refusal(benchmark, path, root, problems, list(missing)))
    reading = Reading(samples, str(path), len(rows), subset, sum(map(belongs, rows)), dropped)
    if not samples:
        raise DataError(f"{reading}: choose another subset, or complete the pictures")
    return reading


def read_evqa(json_path: str | Path, image_root: str | Path, limit: int | None = None) -> list[Sample]:
    """The samples of a file in the E-VQA format, such as the emoji world writes, hard locality included."""
    return read_benchmark(EVQA, json_path, image_root, limit=limit).samples


def _refusal(benchmark: Benchmark, path: Path, root: Path, problems: list[str], missing: list[str]) -> str:
    """One sentence on what keeps a file from being read, and what to do."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    text = f"the benchmark {path} has {count} ({told(problems)}): complete the file and its pictures"
    if not missing:
        return text
    number = "1 picture is" if len(missing) == 1 else f"{len(missing):,} pictures are"
    return (
        f"{text}; {number} missing ({benchmark.sources(missing)}): "
        f"`python -m liveedit check-data {benchmark.name} --root {root} --json-file {path}` lists them, "
        f"--allow-missing leaves such samples out"
    )
