"""Benchmarks as lists in a seeded order: the same samples as the written files, without files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from liveedit.data import EVQA, VLKEB, HardProbe, ImageSource, Sample, read_evqa
from liveedit.data import Benchmark as Published
from liveedit.evaluation.benchmarks import FileSource, WorldSource, world_benchmark, world_sample
from liveedit.world.benchmark import benchmark_cases, write_benchmark


def pixels(source: ImageSource) -> list[int]:
    return np.asarray(source.open()).ravel().tolist()


def test_drawn_samples_are_those_of_the_written_file(tmp_path: Path) -> None:
    written = read_evqa(write_benchmark(tmp_path, 3, 4, "eval"), tmp_path)
    for sample, case in zip(written, benchmark_cases(3, 4, "eval"), strict=True):
        drawn = world_sample(case)
        for name in ("src", "rephrase", "pred", "alt", "loc", "loc_ans", "m_loc_q", "m_loc_a"):
            assert getattr(drawn, name) == getattr(sample, name)
        for name in ("image", "image_rephrase", "m_loc"):
            assert pixels(getattr(drawn, name)) == pixels(getattr(sample, name))
        assert [(p.kind, p.question, p.answer) for p in drawn.hard] == [
            (p.kind, p.question, p.answer) for p in sample.hard
        ]
        assert [pixels(p.image) for p in drawn.hard] == [pixels(p.image) for p in sample.hard]
        assert drawn.hard[0].image == drawn.image


def test_the_world_s_cases_come_in_an_order_of_the_seed() -> None:
    calls: list[int] = []
    found = world_benchmark(8, 4, lambda done, total, label: calls.append(done))
    drawn = [world_sample(case).src for case in benchmark_cases(8, 4, "eval")]
    assert calls == list(range(1, 9))
    assert sorted(s.src for s in found.samples) == sorted(drawn)
    assert [s.src for s in found.samples] != drawn
    assert [s.src for s in world_benchmark(8, 4).samples] == [s.src for s in found.samples]
    assert len(found.edited) == len(found.unrelated) == 8
    by_prompt = {world_sample(case).src: str(case.content) for case in benchmark_cases(8, 4, "eval")}
    assert [by_prompt[s.src] for s in found.samples] == list(found.edited)
    assert WorldSource().draw(8, 4).edited == found.edited


def file_sample(number: int) -> Sample:
    picture = ImageSource(Path(f"picture-{number}.png"))
    return Sample(picture, picture, f"q{number}", "again", "old", f"new {number}", "loc?", "x", picture, "m?", "a")


class Anything:
    """Limits that refuse nothing."""

    def check_prompt(self, prompt: str) -> None: ...

    def check_answer(self, target: str) -> None: ...


def test_a_file_s_samples_come_in_an_order_of_the_seed() -> None:
    source = FileSource("evqa", [file_sample(number) for number in range(20)])
    one, other = source.draw(20, 0), source.draw(20, 1)
    assert {s.src for s in one.samples} == {f"q{n}" for n in range(20)}
    assert [s.src for s in one.samples] != [s.src for s in other.samples]
    assert source.draw(5, 0).samples == one.samples[:5]
    assert source.size == source.settings()["samples"] == 20
    changed = FileSource("evqa", [file_sample(number + 1) for number in range(20)])
    assert changed.settings()["digest"] != source.settings()["digest"]


def test_another_picture_of_an_edited_entity_shows_what_the_edit_does() -> None:
    near, far = (ImageSource(Path("root") / name) for name in ("m.01/bing_2.jpg", "m.02/yahoo_3.jpg"))
    edit = replace(file_sample(0), image=ImageSource(Path("root/m.01/google_1.jpg")))
    samples = [replace(edit, m_loc=near), replace(edit, m_loc=far)]

    def concerned(benchmark: Published) -> dict[ImageSource, bool]:
        found = FileSource(benchmark.name, samples, shows=benchmark.shows).fitting(Anything()).draw(2, 0)
        return {s.m_loc: name in found.edited for s, name in zip(found.samples, found.unrelated, strict=True)}

    assert concerned(VLKEB) == {near: True, far: False}
    # In E-VQA a folder is a mere folder, and only the very picture shows the same.
    assert concerned(EVQA) == {near: False, far: False}


def test_probes_tell_files_apart() -> None:
    """Results of a benchmark with other hard locality are not gone on with, nor mixed in a report."""
    samples = [file_sample(number) for number in range(3)]
    probed = [replace(s, hard=(HardProbe("near_miss", s.m_loc, s.src),)) for s in samples]
    assert FileSource("evqa", samples).settings()["digest"] != FileSource("evqa", probed).settings()["digest"]


def test_a_picture_may_be_drawn_when_it_is_needed() -> None:
    drawn: list[int] = []

    def draw() -> Image.Image:
        drawn.append(1)
        return Image.new("L", (3, 3))

    source = ImageSource(draw)
    assert not drawn
    assert source.open().mode == "RGB"
    assert source.open().size == (3, 3)
    assert len(drawn) == 2
