"""The reader of the E-VQA format: prompts as the benchmark asks them, and refusals that name the problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from liveedit.data import HardProbe, ImageSource, read_evqa
from liveedit.types import DataError

ROW = {
    "src": "How many boats are there?",
    "rephrase": "What is the number of boats? The answer is:",
    "pred": "3",
    "alt": "2",
    "image": "a.png",
    "image_rephrase": "b.png",
    "loc": "nq question: who wrote it",
    "loc_ans": "Ann",
    "m_loc": "c.png",
    "m_loc_q": "What sport is this?",
    "m_loc_a": "motocross",
}


def write(folder: Path, rows: Any, pictures: str = "abc") -> Path:
    for name in pictures:
        Image.new("RGB", (8, 8), "red").save(folder / f"{name}.png")
    path = folder / "data.json"
    path.write_text(json.dumps(rows))
    return path


def test_prompts_carry_the_cue_once_and_text_questions_a_question_mark(tmp_path: Path) -> None:
    (sample,) = read_evqa(write(tmp_path, [ROW]), tmp_path)
    assert sample.src == "How many boats are there? The answer is:"
    assert sample.rephrase == "What is the number of boats? The answer is:"
    assert sample.m_loc_q == "What sport is this? The answer is:"
    assert sample.loc == "nq question: who wrote it?"
    assert (sample.alt, sample.pred, sample.loc_ans, sample.m_loc_a) == ("2", "3", "Ann", "motocross")
    assert sample.image.open().size == (8, 8)
    (again,) = read_evqa(write(tmp_path, [{**ROW, "loc": "who wrote it?"}]), tmp_path)
    assert again.loc == "who wrote it?"


def test_hard_probes_are_read(tmp_path: Path) -> None:
    hard = [{"kind": "near_miss", "image": "c.png", "q": "What is it?", "a": "dog"}]
    (sample,) = read_evqa(write(tmp_path, [{**ROW, "hard": hard}]), tmp_path)
    assert sample.hard == (
        HardProbe("near_miss", ImageSource(tmp_path / "c.png"), "What is it? The answer is:", "dog"),
    )


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    path = write(tmp_path, [ROW, {**ROW, "src": "Second?"}, {**ROW, "src": "Third?"}])
    assert [s.src for s in read_evqa(path, tmp_path, 2)] == [
        "How many boats are there? The answer is:",
        "Second? The answer is:",
    ]


@pytest.mark.parametrize("limit", [None, 2, 3])
def test_a_file_is_checked_to_its_end_whatever_the_limit(tmp_path: Path, limit: int | None) -> None:
    bad = [{**ROW, "alt": ""}, {**ROW, "m_loc": "none.png"}] * 10
    with pytest.raises(DataError) as caught:
        read_evqa(write(tmp_path, [ROW, ROW, *bad]), tmp_path, limit)
    text = str(caught.value)
    assert "has 20 problems (sample 2: alt is empty; sample 3: the picture " in text
    assert "; and 10 more)" in text and "1 picture is missing" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alt": " "}, "sample 0: alt is empty"),
        ({"alt": 2}, "sample 0: alt is missing"),
        ({"m_loc": "none.png"}, "none.png does not exist"),
        (
            {"hard": [{"kind": "odd", "image": "a.png", "q": "Q?", "a": "x"}]},
            "'odd', not same_picture or near_miss",
        ),
        ({"hard": [{"kind": "near_miss", "q": "Q?", "a": "x"}]}, "hard probe 0 lacks q, a or image"),
        ({"hard": "yes"}, "hard is no list"),
    ],
)
def test_a_bad_sample_is_refused_by_name(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match="has 1 problem") as caught:
        read_evqa(write(tmp_path, [{**ROW, **change}]), tmp_path)
    assert words in str(caught.value)


def test_the_first_ten_problems_and_their_number_are_told(tmp_path: Path) -> None:
    rows = [{**ROW, "loc_ans": ""} for _ in range(14)]
    with pytest.raises(DataError) as caught:
        read_evqa(write(tmp_path, rows), tmp_path)
    assert "14 problems" in str(caught.value)
    assert "sample 9: loc_ans is empty; and 4 more" in str(caught.value)
    assert "sample 10" not in str(caught.value)


@pytest.mark.parametrize("text", ["{}", "[]", "not json", "[1]"])
def test_a_file_that_is_no_list_of_samples_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(DataError):
        read_evqa(path, tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_evqa(tmp_path / "none.json", tmp_path)


def test_a_damaged_picture_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path, [ROW])
    (tmp_path / "a.png").write_bytes(b"no picture")
    (sample,) = read_evqa(path, tmp_path)
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        sample.image.open()


def test_a_picture_in_memory_is_a_source_too() -> None:
    assert ImageSource(Image.new("L", (4, 5))).open().mode == "RGB"


def test_an_unknown_kind_of_probe_is_refused() -> None:
    with pytest.raises(DataError, match="of kind 'odd'"):
        HardProbe("odd", ImageSource(Image.new("L", (4, 5))), "Q?", "x")
