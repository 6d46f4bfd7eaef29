"""What a question is, and which wordings each kind of question has in each split."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from liveedit.types import WorldError
from liveedit.world.wordings import COPY, COPY_FURTHER, COPY_HELD_OUT, FACTS, PICTURE, SEEN, TEXT, Wordings, eval_start
from liveedit.world.wordings_facts import MORE_FACTS
from liveedit.world.wordings_picture import MORE_PICTURE

SPLITS = ("train", "eval")


@dataclass(frozen=True)
class Question:
    """One question and its answer."""

    kind: str
    prompt: str  # as a person would type it, with no template around it
    answer: str  # short and in lower case (a repeated phrase keeps its case)
    wording: int  # index of the wording within its kind, over both splits; -1 for a composed one
    subject: int | None  # index of the object asked about; None for the whole scene or text


def _split(table: Wordings, more: Wordings = ()) -> tuple[Wordings, int]:
    """Put further wordings for training before those for evaluation; return all and where evaluation starts."""
    start = eval_start(table)
    return (*table[:start], *more, *table[start:]), start + len(more)


def _tables() -> dict[str, tuple[Wordings, int]]:
    """Return each kind's wordings with the index of the first one for evaluation."""
    tables = {kind: _split(table, MORE_PICTURE.get(kind, ())) for kind, table in PICTURE.items()}
    texts = {key: FACTS[key] for key in FACTS if key != "country"} | dict(TEXT)
    tables |= {f"text:{key}": _split(table, MORE_FACTS.get(key, ())) for key, table in texts.items()}
    tables["copy"] = (*COPY, *COPY_HELD_OUT), len(COPY)
    tables["copy further"] = COPY_FURTHER, 0
    for key in FACTS:
        # Wordings for pictures only join both ends; the last of them is for evaluation.
        shared, start = _split(FACTS[key], (*SEEN[key][:-1], *MORE_FACTS.get(key, ())))
        tables[f"fact:{key}"] = (*shared, SEEN[key][-1]), start
    return tables


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
