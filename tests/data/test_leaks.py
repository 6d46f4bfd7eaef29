"""Subsets without what training gives away, worked out by hand on a few rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liveedit.data import EVQA, SUBSETS, read_benchmark
from liveedit.types import DataError

Publish = Callable[..., Path]
Row = Callable[[str, int], dict[str, Any]]


def rows_of(published_row: Row) -> list[dict[str, Any]]:
    """Against training on rows 100 and 101: see each line."""
    kept = [published_row("evqa", n) for n in range(6)]
    known = published_row("evqa", 100)
    kept[1]["image"] = known["image"]  # an edited picture again
    kept[2] |= {"m_loc": known["m_loc"], "m_loc_q": known["m_loc_q"].upper() + " "}  # an M-Loc question again
    kept[3]["m_loc"] = known["m_loc"]  # another question on an M-Loc picture
    kept[4]["image"] = known["m_loc"]  # an edit of what was an M-Loc picture
    kept[5] |= {"image": known["image"], "m_loc": known["m_loc"], "m_loc_q": known["m_loc_q"]}
    return kept


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("unseen-images", [0, 2, 3, 4]),
        ("unseen-locality", [0, 1, 3, 4]),
        ("leak-free", [0]),
    ],
)
def test_subsets(publish: Publish, published_row: Row, subset: str, expected: list[int]) -> None:
    root = publish("vqa_train.json", [published_row("evqa", 100), published_row("evqa", 101)])
    publish("vqa_eval.json", rows_of(published_row))
    reading = read_benchmark(
        EVQA, root / "vqa_eval.json", root, subset=subset, training=root / "vqa_train.json"
    )
    assert [s.alt for s in reading.samples] == [f"boat {n}" for n in expected]
    assert (reading.rows, reading.in_subset, reading.subset) == (6, len(expected), subset)
    one = read_benchmark(
        EVQA, root / "vqa_eval.json", root, subset=subset, training=root / "vqa_train.json", limit=1
    )
    assert (len(one.samples), one.in_subset) == (1, len(expected))
    if subset == "unseen-images":
        assert str(one).endswith("has 6 samples, 4 of them in the subset unseen-images; 1 are taken")


def test_pictures_are_compared_whatever_stands_before_their_folder(publish: Publish, published_row: Row) -> None:
    seen = published_row("evqa", 0)
    root = publish("vqa_train.json", [{**seen, "image": "proxy/" + seen["image"]}])
    publish("vqa_eval.json", [seen, published_row("evqa", 1)])
    reading = read_benchmark(
        EVQA, root / "vqa_eval.json", root, subset="unseen-images", training=root / "vqa_train.json"
    )
    assert [s.alt for s in reading.samples] == ["boat 1"]


def test_a_subset_that_is_empty_says_so(publish: Publish, published_row: Row) -> None:
    root = publish("vqa_train.json", rows_of(published_row))
    with pytest.raises(DataError, match=r"has 6 samples, 0 of them in the subset leak-free; 0 are taken"):
        read_benchmark(EVQA, root / "vqa_train.json", root, subset="leak-free", training=root / "vqa_train.json")


@pytest.mark.parametrize(
    ("subset", "training", "words"),
    [
        ("odd", None, "choose all, unseen-images"),
        ("leak-free", None, "name it with --training-file"),
        ("leak-free", [{"image": "a.png"}], "without its pictures or m_loc_q"),
        ("leak-free", {}, "holds no list"),
    ],
)
def test_what_cannot_be_computed_is_refused(publish: Publish, published_row: Row, subset: str, training: Any, words: str) -> None:
    root = publish("vqa_eval.json", rows_of(published_row))
    (root / "train.json").write_text(json.dumps(training))
    file = None if training is None else root / "train.json"
    with pytest.raises(DataError, match=words):
        read_benchmark(EVQA, root / "vqa_eval.json", root, subset=subset, training=file)


def test_a_broken_row_is_told_of_even_when_it_belongs_to_no_subset(publish: Publish, published_row: Row) -> None:
    root = publish("vqa_train.json", [published_row("evqa", 100)])
    publish("vqa_eval.json", rows_of(published_row))
    (root / "vqa_eval.json").write_text(json.dumps([*rows_of(published_row), {"src": "x"}]))
    with pytest.raises(DataError, match="sample 6: rephrase is missing"):
        read_benchmark(EVQA, root / "vqa_eval.json", root, subset="leak-free", training=root / "vqa_train.json")


def test_only_a_subset_s_pictures_are_needed(publish: Publish, published_row: Row) -> None:
    root = publish("vqa_train.json", [published_row("evqa", 100)])
    rows = rows_of(published_row)
    publish("vqa_eval.json", rows)
    (root / rows[2]["image_rephrase"]).unlink()
    chosen = {"subset": "unseen-locality", "training": root / "vqa_train.json", "limit": 1}
    assert len(read_benchmark(EVQA, root / "vqa_eval.json", root, **chosen).samples) == 1
    (root / rows[4]["image_rephrase"]).unlink()
    with pytest.raises(DataError, match=r"has 1 problem \(sample 4: the picture"):
        read_benchmark(EVQA, root / "vqa_eval.json", root, **chosen)


def test_every_subset_is_explained() -> None:
    assert list(SUBSETS) == ["all", "unseen-images", "unseen-locality", "leak-free"]
    assert all(SUBSETS.values())
