"""Rows of an annotation file: what may be wrong with one, which pictures it names, and the sample it becomes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liveedit.data.benchmarks import Benchmark
from liveedit.data.evqa import with_cue, with_question_mark
from liveedit.data.samples import HARD_KINDS, HardProbe, ImageSource, PortabilityProbe, Sample
from liveedit.types import DataError

TEXTS = ("src", "rephrase", "alt", "loc", "loc_ans", "m_loc_q", "m_loc_a")
PICTURES = ("image", "image_rephrase", "m_loc")
SHOWN_PROBLEMS = 10
_HOPS = re.compile(r"([1-4])-hop")


def load_rows(path: str | Path) -> list[Any]:
    """The rows of an annotation file; :class:`DataError` when it cannot be read, is no list, or is empty."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the benchmark file {path} cannot be read ({error}): give a JSON file in the E-VQA format"
        ) from error
    if not isinstance(rows, list):
        raise DataError(f"the benchmark file {path} holds no list of samples: give a JSON file in the E-VQA format")
    if not rows:
        raise DataError(f"the benchmark file {path} is empty: give a JSON file with at least one sample")
    return rows


def problems_of(row: Any) -> list[str]:
    """What is wrong with a row, in words; whether its pictures exist is not looked at."""
    if not isinstance(row, dict):
        return ["it is no JSON object"]
    found = [f"{key} is missing" for key in (*TEXTS, *PICTURES, "pred") if not isinstance(row.get(key), str)]
    found += [f"{key} is empty" for key in (*TEXTS, *PICTURES) if isinstance(row.get(key), str) and not row[key].strip()]
    return found + _hard_problems(row.get("hard", [])) + _portability_problems(row.get("port_new", []))


def pictures_of(row: dict[str, Any]) -> list[str]:
    """The names of all pictures that a sound row needs, each once."""
    names = [row[key] for key in PICTURES] + [probe["image"] for probe in row.get("hard", [])]
    return list(dict.fromkeys(names))


def told(problems: list[str]) -> str:
    """The first ten problems, and how many more there are."""
    more = f"; and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    return "; ".join(problems[:SHOWN_PROBLEMS]) + more


def sample_of(row: dict[str, Any], benchmark: Benchmark, files: Mapping[str, Path]) -> Sample:
    """A sound row as a sample, its prompts in the form in which the benchmark asks them.

    ``files`` has the file of each of its :func:`pictures_of`.
    """

    def picture(name: str) -> ImageSource:
        return ImageSource(files[name])

    return Sample(
        image=picture(row["image"]),
        image_rephrase=picture(row["image_rephrase"]),
        src=benchmark.edit_prompt(row["src"]),
        rephrase=benchmark.edit_prompt(row["rephrase"]),
        pred=row["pred"].strip(),
        alt=row["alt"].strip(),
        loc=with_question_mark(row["loc"]),
        loc_ans=row["loc_ans"].strip(),
        m_loc=picture(row["m_loc"]),
        m_loc_q=with_cue(row["m_loc_q"]),
        m_loc_a=row["m_loc_a"].strip(),
        hard=tuple(
            HardProbe(p["kind"], picture(p["image"]), benchmark.edit_prompt(p["q"]), p["a"].strip())
            for p in row.get("hard", [])
        ),
        portability=tuple(_portability_probe(p, benchmark) for p in row.get("port_new", [])),
    )


def _written(value: Any, *keys: str) -> bool:
    """Whether ``value`` is an object that has text under every key."""
    return isinstance(value, dict) and all(isinstance(value.get(k), str) and value[k].strip() for k in keys)


def _hard_problems(hard: Any) -> list[str]:
    """What is wrong with the emoji world's hard locality probes: a list of ``{"kind", "image", "q", "a"}``."""
    if not isinstance(hard, list):
        return ["hard is no list"]
    found = []
    for number, probe in enumerate(hard):
        if not _written(probe, "q", "a", "image"):
            found.append(f"hard probe {number} lacks q, a or image")
        elif probe.get("kind") not in HARD_KINDS:
            found.append(f"hard probe {number} is of kind {probe.get('kind')!r}, not {' or '.join(HARD_KINDS)}")
    return found


def _portability_problems(probes: Any) -> list[str]:
    """What is wrong with VLKEB's portability questions, which come in two layouts.

    ``eval_multihop.json``: ``{"port_type": "1-hop" … "4-hop", "Q&A": {"Question", "Answer"}}``.
    ``eval_edit_onehop.json``: ``{"port_q", "port_a"}`` with the second edit ``{"port_edit_q", "port_edit_a"}``.
    """
    if not isinstance(probes, list):
        return ["port_new is no list"]
    found = []
    for number, probe in enumerate(probes):
        name = f"portability question {number}"
        if isinstance(probe, dict) and "port_type" in probe:
            if not isinstance(probe["port_type"], str) or not _HOPS.fullmatch(probe["port_type"]):
                found.append(f"{name} has port_type {probe['port_type']!r}, not 1-hop, 2-hop, 3-hop or 4-hop")
            if not _written(probe.get("Q&A"), "Question", "Answer"):
                found.append(f"{name} lacks Question or Answer under Q&A")
        elif not _written(probe, "port_q", "port_a"):
            found.append(f"{name} has neither port_type and Q&A nor port_q and port_a")
        elif ("port_edit_q" in probe or "port_edit_a" in probe) and not _written(probe, "port_edit_q", "port_edit_a"):
            found.append(f"{name} lacks port_edit_q or port_edit_a")
    return found


def _portability_probe(probe: dict[str, Any], benchmark: Benchmark) -> PortabilityProbe:
    """A sound portability question; asked as the edit is."""
    if "port_type" in probe:
        asked = probe["Q&A"]
        return PortabilityProbe(
            int(probe["port_type"][0]), benchmark.edit_prompt(asked["Question"]), asked["Answer"].strip()
        )
    premise = None
    if "port_edit_q" in probe:
        premise = (benchmark.edit_prompt(probe["port_edit_q"]), probe["port_edit_a"].strip())
    return PortabilityProbe(1, benchmark.edit_prompt(probe["port_q"]), probe["port_a"].strip(), premise)
