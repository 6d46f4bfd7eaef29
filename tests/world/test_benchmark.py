"""The world's benchmark: no contradictions, no wording of training in eval, repeatable."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from liveedit.data import read_evqa
from liveedit.types import WorldError
from liveedit.world import benchmark
from liveedit.world.benchmark import Consistency, benchmark_cases, probes_of, write_benchmark, write_scenes
from liveedit.world.cases import Case
from liveedit.world.kinds import KINDS, wording_range, wordings


@pytest.fixture(scope="module")
def rows() -> list[Case]:
    return list(benchmark_cases(300, 0, "eval"))


def test_no_two_edits_contradict_each_other(rows: list[Case]) -> None:
    assert len({(c.content, c.meaning) for c in rows}) == len(rows)
    for one, other in combinations(rows, 2):
        if one.content == other.content:
            assert len(one.content) == 1
            assert one.meaning != other.meaning
            assert one.truth != other.truth


def test_no_locality_question_asks_what_another_edit_changed(rows: list[Case]) -> None:
    edited = {(c.content, c.meaning) for c in rows}
    assert not any(probe in edited for c in rows for probe in probes_of(c))


def test_an_accepted_case_is_not_allowed_again(rows: list[Case]) -> None:
    consistency = Consistency()
    assert consistency.allows(rows[0])
    consistency.accept(rows[0])
    assert not consistency.allows(rows[0])
    assert consistency.edits(rows[0].content, rows[0].meaning)


def test_every_target_differs_from_the_truth(rows: list[Case]) -> None:
    assert all(c.target.lower() != c.truth.lower() for c in rows)
    assert all(c.prompt != c.rephrase for c in rows)


def prompts_of(cases: list[Case]) -> set[str]:
    found = [
        (c.prompt, c.rephrase, c.unrelated.prompt, c.same_picture.prompt, c.near_miss.prompt) for c in cases
    ]
    return {p.lower().strip("?. ") for prompts in found for p in prompts} | {
        c.text.prompt.lower() for c in cases
    }


def test_no_prompt_of_eval_occurs_in_train(rows: list[Case]) -> None:
    assert not prompts_of(rows) & prompts_of(list(benchmark_cases(300, 0, "train")))


def test_every_prompt_of_eval_follows_a_held_out_wording(rows: list[Case]) -> None:
    held = [wordings(kind)[i] for kind in KINDS for i in wording_range(kind, "eval")]
    patterns = [re.compile("(Look at .+\\. )?" + re.sub(r"\\\{\w+\\\}", ".+", re.escape(w))) for w in held]
    for prompt in (p for c in rows[:60] for p in (c.prompt, c.rephrase)):
        assert any(p.fullmatch(prompt) for p in patterns), prompt


def test_a_longer_benchmark_begins_with_a_shorter_one_and_seeds_differ(rows: list[Case]) -> None:
    assert list(benchmark_cases(20, 0, "eval")) == rows[:20]
    assert list(benchmark_cases(5, 1, "eval")) != rows[:5]


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.rglob("*.*")))).hexdigest()


def test_the_files_are_read_back_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    path = write_benchmark(tmp_path / "one", 4, 7, "eval", lambda *call: calls.append(call))
    write_benchmark(tmp_path / "two", 4, 7, "eval")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert calls == [(n, 4, "drawing the benchmark") for n in (1, 2, 3, 4)]
    samples, cases = read_evqa(path, tmp_path / "one"), list(benchmark_cases(4, 7, "eval"))
    for sample, case in zip(samples, cases, strict=True):
        assert sample.src == case.prompt + " The answer is:"
        assert (sample.alt, sample.pred, sample.m_loc_a) == (case.target, case.truth, case.unrelated.truth)
        assert [p.kind for p in sample.hard] == ["same_picture", "near_miss"]
        assert [p.answer for p in sample.hard] == [case.same_picture.truth, case.near_miss.truth]
        assert sample.hard[0].image == sample.image
        assert sample.image.open().size == (112, 112)


def test_scenes_are_written_with_their_questions(tmp_path: Path) -> None:
    rows = json.loads(write_scenes(tmp_path, 3, 0).read_text())
    assert len(rows) == 3
    assert all((tmp_path / row["image"]).is_file() and row["questions"] and row["objects"] for row in rows)


@pytest.mark.parametrize(("count", "seed", "split"), [(0, 0, "eval"), (1, -1, "eval"), (1, 0, "test")])
def test_impossible_requests_are_refused(count: int, seed: int, split: str) -> None:
    with pytest.raises(WorldError):
        next(benchmark_cases(count, seed, split))


def test_a_full_world_says_how_many_edits_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(Consistency, "allows", lambda self, case: not self.edited)
    with pytest.raises(WorldError, match="room for only 1 edits"):
        list(benchmark_cases(3, 0, "eval"))


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldError, match="cannot be written"):
        write_benchmark(tmp_path / "file", 1, 0, "eval")
    with pytest.raises(WorldError, match="cannot be written"):
        write_scenes(tmp_path / "file", 1, 0)
