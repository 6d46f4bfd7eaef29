"""The check of a benchmark's folder: what is missing, how many, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liveedit.data import EVQA, VLKEB, check_data
from liveedit.types import DataError

Publish = Callable[..., Path]
Row = Callable[[str, int], dict[str, Any]]


def test_a_complete_benchmark(publish: Publish, published_row: Row) -> None:
    root = publish("vqa_train.json", [published_row("evqa", n) for n in range(3)])
    publish("vqa_eval.json", [published_row("evqa", n) for n in (2, 3)])
    report = check_data(EVQA, root)
    assert report.complete
    assert [(f.split, f.samples, f.problems) for f in report.files] == [("train", 3, []), ("eval", 2, [])]
    # Sample 2 is in both files and its pictures are counted once: 4 edits and 4 M-Loc pictures, 4 rephrased ones.
    assert [(p.origin.what, p.wanted, p.missing) for p in report.pictures] == [
        ("COCO val2014", 8, []),
        ("MMEdit's rephrased images", 4, []),
    ]
    assert "complete" in str(report) and "distributed" not in str(report)


def test_missing_pictures_are_listed_by_origin(publish: Publish, published_row: Row) -> None:
    rows = [published_row("evqa", n) for n in range(14)]
    root = publish("vqa_train.json", rows)
    for row in rows[:12]:
        (root / row["image_rephrase"]).unlink()
    (root / rows[0]["image"]).unlink()
    report = check_data(EVQA, root, ("train",))
    assert not report.complete
    assert [len(p.missing) for p in report.pictures] == [1, 12]
    assert report.pictures[1].missing == [row["image_rephrase"] for row in rows[:12]]
    text = str(report)
    assert "COCO val2014: 1 of 28 pictures are missing, from https://cocodataset.org" in text
    assert "MMEdit's rephrased images: 12 of 14 pictures are missing, from its authors' drive" in text
    assert rows[9]["image_rephrase"] in text and rows[10]["image_rephrase"] not in text
    assert "and 2 more pictures" in text and "Nothing of a benchmark is distributed here" in text
    value = report.to_json()
    assert value["complete"] is False and value["benchmark"] == "evqa"
    assert value["pictures"][1]["names"] == [row["image_rephrase"] for row in rows[:12]]


def test_missing_annotation_files_and_broken_rows_make_it_incomplete(publish: Publish, published_row: Row) -> None:
    root = publish("eval.json", [published_row("vlkeb", 1)], "VLKEB_images")
    report = check_data(VLKEB, root)
    assert [f.split for f in report.files if f.path is None] == ["train", "multihop", "onehop"]
    assert "onehop: no eval_edit_onehop.json, get it at https://github.com/VLKEB/VLKEB" in str(report)
    assert not report.complete
    assert check_data(VLKEB, root, ("eval",)).complete
    broken = publish("odd.json", [published_row("vlkeb", 1), {**published_row("vlkeb", 2), "m_loc_q": ""}])
    report = check_data(VLKEB, broken, json_path=broken / "odd.json")
    assert not report.complete
    assert report.files[0].problems == ["sample 1: m_loc_q is empty"]
    assert "sample 1: m_loc_q is empty" in str(report)


def test_what_cannot_be_checked_is_refused(publish: Publish, published_row: Row) -> None:
    root = publish("eval.json", [published_row("vlkeb", 1)])
    with pytest.raises(DataError, match="there is no folder"):
        check_data(VLKEB, root / "none")
    with pytest.raises(DataError, match="cannot be read"):
        check_data(VLKEB, root, json_path=root / "none.json")
    with pytest.raises(DataError, match="no split 'dev'"):
        check_data(VLKEB, root, ("dev",))
