"""The readers of E-VQA, E-IC and VLKEB: prompts, places, portability, missing pictures, and no picture opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from liveedit.data import BENCHMARKS, EIC, EVQA, VLKEB, PortabilityProbe, fitting, read_benchmark
from liveedit.types import DataError, InputError

Publish = Callable[..., Path]
Row = Callable[[str, int], dict[str, Any]]
FILES = {"evqa": "vqa_eval.json", "eic": "caption_eval_edit.json", "vlkeb": "eval.json"}


@pytest.mark.parametrize(
    ("name", "src", "rephrase"),
    [
        ("evqa", "How many boats has number 1? The answer is:", "What is the number of boats of 1? The answer is:"),
        ("eic", "a photo of", "What is the number of boats of 1?"),
        ("vlkeb", "How many boats has number 1?", "What is the number of boats of 1?"),
    ],
)
def test_each_benchmark_asks_in_its_own_form(publish: Publish, published_row: Row, name: str, src: str, rephrase: str) -> None:
    root = publish(FILES[name], [published_row(name, 1)])
    (sample,) = read_benchmark(BENCHMARKS[name], root / FILES[name], root).samples
    assert (sample.src, sample.rephrase) == (src, rephrase)
    assert sample.m_loc_q == "What sport is number 1? The answer is:"
    assert sample.loc == "nq question: who wrote number 1?"
    assert (sample.alt, sample.pred, sample.loc_ans, sample.m_loc_a) == ("boat 1", "no", "Ann", "chess")
    assert sample.portability == ()
    row = published_row(name, 1)
    for picture, key in ((sample.image, "image"), (sample.image_rephrase, "image_rephrase"), (sample.m_loc, "m_loc")):
        assert picture.source == root / row[key]
        assert picture.open().size == (24, 24)


@pytest.mark.parametrize(
    ("name", "file", "pictures"),
    [
        ("evqa", "vqa/vqa_eval.json", "images"),
        ("evqa", "editing-data/vqa/vqa_eval.json", "."),
        ("eic", "caption/caption_eval_edit.json", "images"),
        ("vlkeb", "eval.json", "mmkb_images"),
        ("vlkeb", "eval.json", "VLKEB_images"),
    ],
)
def test_the_usual_places_are_looked_at(publish: Publish, published_row: Row, name: str, file: str, pictures: str) -> None:
    root = publish(file, [published_row(name, 1)], pictures)
    benchmark = BENCHMARKS[name]
    assert benchmark.annotation_file(root, "eval") == root / file
    (sample,) = read_benchmark(benchmark, root / file, root).samples
    assert sample.image.source == root / pictures / published_row(name, 1)["image"]


def test_an_annotation_file_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no vqa_train\.json or vqa/vqa_train\.json .*--json-file.*github\.com"):
        EVQA.annotation_file(tmp_path, "train")
    with pytest.raises(DataError, match="E-IC has no split 'multihop': choose train or eval"):
        EIC.annotation_file(tmp_path, "multihop")


def test_portability_of_one_and_of_many_hops(publish: Publish, published_row: Row) -> None:
    many = [{"port_type": f"{n}-hop", "Q&A": {"Question": f"Question {n}? ", "Answer": f" answer {n}"}} for n in (1, 4)]
    one = [{"port_edit_q": "Who owns it?", "port_edit_a": "Ann", "port_q": "Whose is it?", "port_a": "Ann's"},
           {"port_q": "And then?", "port_a": "no"}]  # fmt: skip
    rows = [{**published_row("vlkeb", 1), "port_new": many}, {**published_row("vlkeb", 2), "port_new": one}]
    rows += [{**published_row("vlkeb", 3), "port_new": []}, published_row("vlkeb", 4)]
    root = publish("eval_multihop.json", rows, "mmkb_images")
    found = read_benchmark(VLKEB, VLKEB.annotation_file(root, "multihop"), root).samples
    assert found[0].portability == (
        PortabilityProbe(1, "Question 1?", "answer 1"),
        PortabilityProbe(4, "Question 4?", "answer 4"),
    )
    assert found[1].portability == (
        PortabilityProbe(1, "Whose is it?", "Ann's", ("Who owns it?", "Ann")),
        PortabilityProbe(1, "And then?", "no"),
    )
    assert found[2].portability == found[3].portability == ()


@pytest.mark.parametrize(
    ("port_new", "words"),
    [
        ({"port_q": "Q?", "port_a": "x"}, "port_new is no list"),
        (["Q?"], "portability question 0 has neither port_type and Q&A nor port_q and port_a"),
        ([{"port_q": "Q?", "port_a": " "}], "has neither"),
        ([{"port_type": "5-hop", "Q&A": {"Question": "Q?", "Answer": "x"}}], "port_type '5-hop', not 1-hop"),
        ([{"port_type": 1, "Q&A": {"Question": "Q?", "Answer": "x"}}], "port_type 1, not 1-hop"),
        ([{"port_type": "1-hop", "Q&A": {"Question": "Q?"}}], "lacks Question or Answer under Q&A"),
        ([{"port_type": "1-hop", "Q&A": [["Q?", "x"]]}], "lacks Question or Answer under Q&A"),
        ([{"port_q": "Q?", "port_a": "x", "port_edit_q": "P?"}], "lacks port_edit_q or port_edit_a"),
    ],
)
def test_other_layouts_of_portability_are_refused(publish: Publish, published_row: Row, port_new: Any, words: str) -> None:
    root = publish("eval.json", [{**published_row("vlkeb", 1), "port_new": port_new}])
    with pytest.raises(DataError, match="1 problem") as caught:
        read_benchmark(VLKEB, root / "eval.json", root)
    assert "sample 0: " in str(caught.value) and words in str(caught.value)


def test_a_portability_question_has_one_to_four_hops() -> None:
    with pytest.raises(DataError, match="5 hops"):
        PortabilityProbe(5, "Q?", "x")


def test_missing_pictures_stop_the_reading_and_say_where_they_come_from(publish: Publish, published_row: Row) -> None:
    rows = [published_row("evqa", n) for n in range(6)]
    root = publish("vqa_eval.json", rows)
    for number in (1, 2, 3, 4):
        (root / rows[number]["image"]).unlink()
        (root / rows[number]["m_loc"]).unlink()
        (root / rows[number]["image_rephrase"]).unlink()
    with pytest.raises(DataError) as caught:
        read_benchmark(EVQA, root / "vqa_eval.json", root)
    text = str(caught.value)
    assert "has 12 problems" in text and "; and 2 more" in text
    assert f"sample 1: the picture {root / rows[1]['image']} does not exist" in text
    assert "12 pictures are missing (8 of COCO val2014, from https://cocodataset.org" in text
    assert "4 of MMEdit's rephrased images, from" in text
    assert "check-data evqa" in text and "--allow-missing" in text
    reading = read_benchmark(EVQA, root / "vqa_eval.json", root, allow_missing=True)
    assert [s.alt for s in reading.samples] == ["boat 0", "boat 5"]
    assert (reading.rows, reading.dropped) == (6, 4)
    assert str(reading).endswith("has 6 samples, 4 left out for missing pictures; 2 are taken")
    first = read_benchmark(EVQA, root / "vqa_eval.json", root, limit=1, allow_missing=True)
    assert (len(first.samples), first.dropped) == (1, 4)
    with pytest.raises(DataError, match="has 12 problems"):
        read_benchmark(EVQA, root / "vqa_eval.json", root, limit=1)


def test_a_missing_picture_is_expected_in_the_folder_that_is_there(tmp_path: Path) -> None:
    name = "m.1/google_2.jpg"
    assert VLKEB.expected(tmp_path, name) == tmp_path / "mmkb_images" / name
    assert EVQA.expected(tmp_path, "val2014/a.jpg") == tmp_path / "val2014/a.jpg"
    for folder in ("VLKEB_images", "images"):
        (tmp_path / folder).mkdir()
    assert VLKEB.expected(tmp_path, name) == tmp_path / "VLKEB_images" / name
    assert EVQA.expected(tmp_path, "val2014/a.jpg") == tmp_path / "images" / "val2014/a.jpg"


def test_broken_rows_are_refused_whatever_is_allowed_to_be_missing(publish: Publish, published_row: Row) -> None:
    root = publish("eval.json", [published_row("vlkeb", 1), {**published_row("vlkeb", 2), "alt": ""}])
    with pytest.raises(DataError, match="sample 1: alt is empty") as caught:
        read_benchmark(VLKEB, root / "eval.json", root, allow_missing=True)
    assert "missing (" not in str(caught.value)


def test_reading_that_leaves_nothing_is_refused(publish: Publish, published_row: Row) -> None:
    root = publish("eval.json", [published_row("vlkeb", 1)])
    with pytest.raises(DataError, match="1 left out for missing pictures; 0 are taken"):
        read_benchmark(VLKEB, root / "eval.json", root / "elsewhere", allow_missing=True)
    with pytest.raises(DataError, match="ask for at least 1"):
        read_benchmark(VLKEB, root / "eval.json", root, limit=0)


def test_reading_a_thousand_samples_opens_no_picture(publish: Publish, published_row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    root = publish("vqa_eval.json", [published_row("evqa", 1)])
    (root / "vqa_eval.json").write_text(json.dumps([published_row("evqa", 1)] * 1000))

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a picture was opened")

    monkeypatch.setattr(Image, "open", opened)
    samples = read_benchmark(EVQA, root / "vqa_eval.json", root).samples
    assert len(samples) == 1000
    with pytest.raises(AssertionError, match="was opened"):
        samples[-1].image.open()


class Short:
    """Limits in characters, in place of a backbone's in tokens."""

    def check_prompt(self, prompt: str) -> None:
        if len(prompt) > 60:
            raise InputError("too long")

    def check_answer(self, target: str) -> None:
        if len(target) > 12:
            raise InputError("too long")


def test_samples_that_no_backbone_takes_are_left_out(publish: Publish, published_row: Row) -> None:
    rows = [published_row("vlkeb", n) for n in range(5)]
    rows[1]["alt"] = "a caption far too long"
    rows[2]["rephrase"] = "what " * 20
    rows[3]["port_new"] = [{"port_q": "Q?", "port_a": "x", "port_edit_q": "P?", "port_edit_a": "far too long too"}]
    root = publish("eval.json", rows)
    samples = read_benchmark(VLKEB, root / "eval.json", root).samples
    assert [s.alt for s in fitting(samples, Short())] == ["boat 0", "boat 4"]
