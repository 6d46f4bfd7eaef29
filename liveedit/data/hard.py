"""Hard locality for the benchmarks that publish none: what a row asks already, with its two pictures exchanged.

The edit's picture is asked the M-Loc question, and the M-Loc picture the edit's own. Nobody has annotated the truth,
and none is needed: an answer is right when it is the unedited model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from liveedit.data.benchmarks import Benchmark
from liveedit.data.evqa import with_cue
from liveedit.data.samples import HardProbe, Sample

Concerned = Callable[[str, str], bool]


def concerned_by(rows: Iterable[dict[str, Any]], benchmark: Benchmark) -> Concerned:
    """Whether some sound row's edit may rightly answer a question (second) asked of the picture of a name (first).

    It may where it is asked this question, or its rephrasing, of what that picture shows. Where every edit says what
    its folder's pictures show, it may answer any question on them: another edit's is mostly the same in other words.
    """
    edited = {
        (benchmark.shows(Path(row["image"])), _meaning(row[key], benchmark))
        for row in rows
        for key in ("src", "rephrase")
    }
    return lambda name, question: (benchmark.shows(Path(name)), _meaning(question, benchmark)) in edited


def derived_probes(row: dict[str, Any], sample: Sample, concerned: Concerned) -> tuple[HardProbe, ...]:
    """The probes of a sound row and the sample it became, without those that an edit concerns."""
    probes = []
    if not concerned(row["image"], row["m_loc_q"]):
        probes.append(HardProbe("same_picture", sample.image, sample.m_loc_q))
    if not concerned(row["m_loc"], row["src"]):
        probes.append(HardProbe("near_miss", sample.m_loc, sample.src))
    return tuple(probes)


def _meaning(question: str, benchmark: Benchmark) -> str:
    """What tells questions on one thing apart: their words, if the edits do not all ask what it is."""
    return "" if benchmark.folder_shows_one_thing else " ".join(with_cue(question).casefold().split())
