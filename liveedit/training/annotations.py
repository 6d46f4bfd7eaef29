"""Natural questions, rephrasings and answers out of E-VQA and VLKEB annotation files (no pictures needed)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from liveedit.types import DataError

MAX_ANSWER_CHARACTERS = 40


def read_exchanges(paths: Sequence[Path]) -> list[tuple[str, str, str]]:
    """(question, rephrased question, answer) of every annotation, without repeats, in the files' order."""
    found: dict[tuple[str, str, str], None] = {}
    for path in paths:
        try:
            rows = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"the annotation file {path} cannot be read ({error}): give an E-VQA or VLKEB JSON file"
            ) from error
        if not isinstance(rows, list):
            raise DataError(f"the annotation file {path} holds no list of samples: give an E-VQA or VLKEB JSON file")
        for row in rows:
            if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("src", "rephrase", "alt")):
                raise DataError(
                    f"the annotation file {path} has a sample without src, rephrase or alt: check its format"
                )
            answer = row["alt"].replace("_", " ").strip()
            if 0 < len(answer) <= MAX_ANSWER_CHARACTERS:
                found[(row["src"].strip(), row["rephrase"].strip(), answer)] = None
    return list(found)


def answers_of(exchanges: Sequence[tuple[str, str, str]]) -> list[str]:
    """The different answers, in order of first appearance."""
    return list(dict.fromkeys(answer for _, _, answer in exchanges))
