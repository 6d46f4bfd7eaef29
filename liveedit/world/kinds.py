"""What a question is, and which wordings each kind of question has in each split."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from liveedit.types import WorldError
from liveedit.world.wordings import COPY, FACTS, PICTURE, SEEN, TEXT, Wordings, eval_start

SPLITS = ("train", "eval")


@dataclass(frozen=True)
class Question:
    """One question and its answer."""

    kind: str
    prompt: str  # as a person would type it, with no template around it
    answer: str  # short and in lower case (a repeated phrase keeps its case)
    wording: int  # index of the wording within its kind, over both splits
    subject: int | None  # index of the object asked about; None for the whole scene or text


def _seen(key: str) -> Wordings:
    """Join the wordings of a fact for pictures, keeping those for evaluation at the end."""
    shared, seen = FACTS[key], SEEN[key]
    start = eval_start(shared)
    return (*shared[:start], *seen[:-1], *shared[start:], seen[-1])


def _tables() -> dict[str, tuple[Wordings, int]]:
    """Return each kind's wordings with the index of the first one for evaluation."""
    tables = dict(PICTURE)
    tables |= {f"text:{key}": FACTS[key] for key in FACTS if key != "country"}
    tables |= {f"text:{key}": TEXT[key] for key in TEXT}
    tables["copy"] = COPY
    split = {kind: (table, eval_start(table)) for kind, table in tables.items()}
    for key in FACTS:
        table = _seen(key)
        split[f"fact:{key}"] = (table, eval_start(FACTS[key]) + len(SEEN[key]) - 1)
    return split


_TABLES = _tables()
KINDS = tuple(_TABLES)


def wordings(kind: str) -> Wordings:
    """Return all wordings of a kind, those for evaluation last."""
    if kind not in _TABLES:
        raise WorldError(f"There is no kind of question called {kind!r}.")
    return _TABLES[kind][0]


def wording_range(kind: str, split: str) -> range:
    """Return the indices of a kind's wordings that belong to a split."""
    table = wordings(kind)
    if split not in SPLITS:
        raise WorldError(f"A split is one of {', '.join(SPLITS)}, not {split!r}.")
    start = _TABLES[kind][1]
    return range(start) if split == "train" else range(start, len(table))


def wording_count(kind: str, split: str) -> int:
    """Return how many wordings a kind has in a split."""
    return len(wording_range(kind, split))


def pick_wording(kind: str, rng: Random, split: str, wording: int | None = None) -> tuple[int, str]:
    """Choose a wording of a split, or check the one asked for; return its index and text."""
    allowed = wording_range(kind, split)
    if wording is None:
        wording = allowed[int(rng.random() * len(allowed))]
    elif wording not in allowed:
        raise WorldError(
            f"Wording {wording} of {kind!r} is not for {split}; choose {allowed.start} to {allowed.stop - 1}."
        )
    return wording, _TABLES[kind][0][wording]
