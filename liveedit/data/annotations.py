"""Natural questions, rephrasings and answers out of E-VQA and VLKEB annotation files (no pictures needed).

One question in ten, with its answers, is kept for evaluation: no training draws from it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from liveedit.types import DataError

MAX_ANSWER_CHARACTERS = 40


def held_out(question: str) -> bool:
    """Whether a question belongs to evaluation alone: one in ten does, in whatever case it is written."""
    return zlib.crc32(question.strip().lower().encode()) % 10 == 0


def read_exchanges(paths: Sequence[Path], split: str = "train") -> list[tuple[str, str, str]]:
    """(question, rephrased question, answer) of the annotations of a split, without repeats, in the files' order.

    "train" has the exchanges of which neither question nor rephrasing is held out, "eval" those of which nothing
    at all occurs in "train".
    """
    if split not in ("train", "eval"):
        raise DataError(f"the split of the annotations is {split!r}: choose 'train' or 'eval'")
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
    train = [e for e in found if not held_out(e[0]) and not held_out(e[1])]
    if split == "train":
        return train
    met = {text.lower() for question, rephrased, _ in train for text in (question, rephrased)}
    return [e for e in found if e[0].lower() not in met and e[1].lower() not in met]


def answers_of(exchanges: Sequence[tuple[str, str, str]]) -> list[str]:
    """The different answers, in order of first appearance."""
    return list(dict.fromkeys(answer for _, _, answer in exchanges))
