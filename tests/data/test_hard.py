"""Hard locality of published benchmarks: two pictures exchanged, and nothing asked that an edit of the file concerns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liveedit.data import BENCHMARKS, HardProbe, ImageSource, Sample, fitting, read_benchmark
from liveedit.types import InputError

Rows = list[dict[str, Any]]
Read = Callable[..., list[Sample]]


@pytest.fixture
def read(publish: Callable[..., Path]) -> Read:
    """Samples of some rows as a benchmark's evaluation file, all their pictures being there."""

    def samples(name: str, rows: Rows, limit: int | None = None) -> list[Sample]:
        benchmark = BENCHMARKS[name]
        file = benchmark.files["eval"][0]
        root = publish(file, rows)
        return read_benchmark(benchmark, root / file, root, limit=limit).samples

    return samples


@pytest.fixture
def rows(published_row: Callable[[str, int], dict[str, Any]]) -> Callable[[str], Rows]:
    """Three rows of a benchmark that share nothing but, in E-IC, the prompt."""
    return lambda name: [published_row(name, number) for number in (1, 2, 3)]


def kinds(samples: list[Sample]) -> list[list[str]]:
    return [[probe.kind for probe in sample.hard] for sample in samples]


@pytest.mark.parametrize(
    ("name", "asked"), [("evqa", "How many boats has number 1? The answer is:"), ("eic", "a photo of")]
)
def test_the_two_pictures_of_a_row_are_exchanged(
    read: Read, rows: Callable[[str], Rows], tmp_path: Path, name: str, asked: str
) -> None:
    sample = read(name, rows(name))[0]
    edited, other = (ImageSource(tmp_path / f"val2014/COCO_val2014_{n:012}.jpg") for n in (1, 901))
    assert sample.hard == (
        HardProbe("same_picture", edited, "What sport is number 1? The answer is:", ""),
        HardProbe("near_miss", other, asked, ""),
    )


def test_of_vlkeb_s_edited_entities_nothing_else_is_asked(read: Read, rows: Callable[[str], Rows], tmp_path: Path) -> None:
    """Its questions all ask what is shown, so another one about the edit's picture asks for the edit's answer."""
    given = rows("vlkeb")
    given[1]["m_loc"] = "m.01/yahoo_7.jpg"  # another picture of what the first row edits
    found = read("vlkeb", given)
    assert found[0].hard == (
        HardProbe("near_miss", ImageSource(tmp_path / "m.91/yahoo_3.jpg"), "How many boats has number 1?", ""),
    )
    assert kinds(found) == [["near_miss"], [], ["near_miss"]]


def test_what_an_edit_of_the_file_is_asked_is_no_probe(read: Read, rows: Callable[[str], Rows]) -> None:
    given = rows("evqa")
    given[0]["m_loc_q"] = given[0]["rephrase"].upper() + " The answer is:"  # the edit's own rephrasing
    given[1] |= {"m_loc": given[2]["image"], "src": given[2]["src"] + " "}  # what the third row edits
    assert kinds(read("evqa", given)) == [["near_miss"], ["same_picture"], ["same_picture", "near_miss"]]
    # A picture that another row edits may be asked what this row is not about; a limit does not change the probes.
    given[1]["src"] = "Is it cold?"
    assert kinds(read("evqa", given, 2)) == [["near_miss"], ["same_picture", "near_miss"]]
    given[1]["m_loc"] = given[1]["image"]
    assert kinds(read("evqa", given))[1] == ["same_picture"]


def test_one_prompt_for_all_is_no_near_miss_on_an_edited_picture(read: Read, rows: Callable[[str], Rows]) -> None:
    given = rows("eic")
    given[0]["m_loc"] = given[1]["image"]
    assert kinds(read("eic", given)) == [["same_picture"], *[["same_picture", "near_miss"]] * 2]


def test_probes_that_a_row_brings_are_taken_as_they_are(read: Read, rows: Callable[[str], Rows], tmp_path: Path) -> None:
    given = rows("evqa")
    picture = given[0]["m_loc"]
    given[0]["hard"] = [{"kind": "near_miss", "image": picture, "q": "What is it?", "a": "dog"}]
    found = read("evqa", given)
    assert found[0].hard == (
        HardProbe("near_miss", ImageSource(tmp_path / picture), "What is it? The answer is:", "dog"),
    )
    assert kinds(found[1:]) == [["same_picture", "near_miss"]] * 2


def test_derived_probes_leave_no_sample_out(read: Read, rows: Callable[[str], Rows]) -> None:
    """They ask what the sample asks anyway, so none of them is too long on its own."""

    class Known:
        def check_prompt(self, prompt: str) -> None:
            if prompt not in asked:
                raise InputError("not among the sample's own prompts")

        def check_answer(self, target: str) -> None:
            pass

    for name in ("evqa", "eic", "vlkeb"):
        samples = read(name, rows(name))
        asked = {prompt for s in samples for prompt in (s.src, s.rephrase, s.m_loc_q)}
        assert fitting(samples, Known()) == samples
