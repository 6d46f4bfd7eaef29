"""The lifelong protocol: independent of the editor, resumable with the same numbers, refusing other folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liveedit.editors import LiveEdit, Unedited
from liveedit.evaluation import LifelongOptions, lifelong, run_lifelong
from liveedit.evaluation.benchmarks import Benchmark, FileSource, WorldSource
from liveedit.evaluation.conflicts import run_conflicts
from liveedit.evaluation.cost import COST
from liveedit.evaluation.lifelong import RESULT
from liveedit.types import InputError

SMALL = LifelongOptions((1, 4), (0, 1), tests_per_run=3, least_tests=2, timed=1, max_new_tokens=3)
FORTY = LifelongOptions((40,), (0,), least_tests=1, timed=1)


class Cached(WorldSource):
    """The world's benchmark, drawn once for all tests."""

    drawn: dict[tuple[int, int], Benchmark] = {}  # noqa: RUF012

    def draw(self, count: int, seed: int, progress: Any = None) -> Benchmark:
        if (count, seed) not in self.drawn:
            self.drawn[count, seed] = super().draw(count, seed, progress)
        return self.drawn[count, seed]


def numbers_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A result without its latencies."""
    return [{key: value for key, value in entry.items() if key != "cost"} for entry in result["runs"]]


def entry_of(result: dict[str, Any], count: int) -> dict[str, Any]:
    return next(entry for entry in result["runs"] if entry["edits"] == count)


@pytest.fixture(scope="module")
def whole(open_editor: LiveEdit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An evaluation that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_lifelong(open_editor, Cached(), SMALL, folder, label="tiny")


def test_the_result(whole: tuple[Path, dict[str, Any]], open_editor: LiveEdit) -> None:
    folder, result = whole
    assert json.loads((folder / RESULT).read_text()) == json.loads(json.dumps(result))
    assert result["label"] == "tiny"
    assert result["backbone"] == open_editor.backbone.fingerprint
    assert result["editor"] == {"name": "liveedit", "fingerprint": open_editor.fingerprint}
    assert result["benchmark"] == {"name": "world", "pool": 4}
    assert "by construction" in result["notes"]["t_loc"]
    one, four = entry_of(result, 1), entry_of(result, 4)
    assert (one["runs"], one["tested"], one["tested_per_run"]) == (4, 4, 1)
    assert (four["runs"], four["tested"], four["tested_per_run"]) == (2, 6, 3)
    for entry in (one, four):
        edited = entry["edited"]
        # Every expert of this editor passes everywhere.
        assert edited["recall.all"]["mean"] == 100.0
        assert edited["passed.all"]["mean"] == edited["m_loc.passed"]["mean"] == entry["edits"]
        assert edited["precision.all"]["mean"] == pytest.approx(100 / entry["edits"])
        assert edited["m_loc.some_passed"]["mean"] == 100.0
        assert edited["t_loc"]["mean"] == entry["unedited"]["m_loc"]["mean"] == 100.0
        assert entry["unedited"]["hard.all"]["mean"] == 100.0
        assert edited["average"]["low"] <= edited["average"]["mean"] <= edited["average"]["high"]
        five = [edited[name]["mean"] for name in ("rel", "t_gen", "m_gen", "t_loc", "m_loc")]
        assert edited["average"]["mean"] == pytest.approx(sum(five) / 5, abs=0.02)
        assert entry["cost"]["seconds_per_edit"] > 0
        assert entry["cost"]["prefill_ratio"] > 0 and entry["cost"]["decode_ratio"] >= 0
        assert all(age["unedited"]["rel"]["n"] == age["tested"] for age in entry["ages"])
    assert four["edited"]["m_loc"]["mean"] < 100.0, "the experts must change something for this test to mean anything"
    c = open_editor.config
    per_expert = 4 * (2 * c.rank * c.hidden_size + 2 * c.queries * c.module_dim)
    assert (one["cost"]["bytes"], four["cost"]["bytes"]) == (per_expert, 4 * per_expert)


def test_again_on_a_finished_folder_nothing_is_asked(
    whole: tuple[Path, dict[str, Any]], open_editor: LiveEdit, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result = whole
    for name in ("edit", "answer", "predict"):
        monkeypatch.setattr(LiveEdit, name, None)
    assert run_lifelong(open_editor, Cached(), SMALL, folder, label="tiny") == result


@pytest.mark.parametrize("save_seconds", [0.0, 1e9])
def test_an_interrupted_evaluation_goes_on_with_the_same_numbers(
    save_seconds: float,
    whole: tuple[Path, dict[str, Any]],
    open_editor: LiveEdit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("liveedit.evaluation.lifelong.BLOCK", 2)
    result, interruptions, result_or_none = whole[1], 0, None
    for limit in (3, 5, 7, 9, 1000):
        calls: list[str] = []

        def interrupt(done: int, total: int, label: str, calls: list[str] = calls, limit: int = limit) -> None:
            calls.append(label)
            if len(calls) == limit:
                raise KeyboardInterrupt

        try:
            result_or_none = run_lifelong(
                open_editor, Cached(), SMALL, tmp_path, label="tiny", progress=interrupt, save_seconds=save_seconds
            )
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 3
    assert result_or_none is not None
    assert numbers_of(result_or_none) == numbers_of(result)
    assert not list(tmp_path.glob("states/*"))


def test_runs_from_before_some_values_were_measured_are_summed_up_without_them(
    whole: tuple[Path, dict[str, Any]], open_editor: LiveEdit, tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "old")
    for path in (tmp_path / "old" / "runs").glob("*.json"):
        content = json.loads(path.read_text())
        if content["cost"]:
            content["cost"] = {key: value for key, value in content["cost"].items() if key in COST}
        path.write_text(json.dumps(content))
    result = run_lifelong(open_editor, Cached(), SMALL, tmp_path / "old", label="tiny")
    assert numbers_of(result) == numbers_of(whole[1])
    for old, new in zip(result["runs"], whole[1]["runs"], strict=True):
        assert old["cost"] == {key: value for key, value in new["cost"].items() if "prefill" not in key and "decode" not in key}


def test_a_file_s_sample_that_several_seeds_test_is_known_again(
    forgetful: Any, coloured: FileSource, tmp_path: Path
) -> None:
    options = LifelongOptions((40,), (0, 1), least_tests=1, timed=1)
    run_lifelong(forgetful(10), coloured, options, tmp_path)
    tests = [json.loads(path.read_text())["tests"] for path in sorted((tmp_path / "runs").glob("*.json"))]
    named = [{test["prompt"]: test["sample"] for test in found} for found in tests]
    assert named[0] == named[1] and len(set(named[0].values())) == 40


def test_saved_edits_are_not_applied_again(forgetful: Any, coloured: FileSource, tmp_path: Path) -> None:
    def stop(done: int, total: int, label: str) -> None:
        if label.startswith("testing"):
            raise KeyboardInterrupt

    editor = forgetful(40)
    with pytest.raises(KeyboardInterrupt):
        run_lifelong(editor, coloured, FORTY, tmp_path, progress=stop, save_seconds=0.0)
    assert editor.applied == [32, 8]
    assert [path.name for path in (tmp_path / "states").glob("*.state")] == ["n40-seed0-chunk0.40.state"]
    again = forgetful(40)
    result = run_lifelong(again, coloured, FORTY, tmp_path)
    # What is left are the two edits that are timed, one of them to warm up.
    assert again.applied == [1, 1]
    assert entry_of(result, 40)["edited"]["rel"]["mean"] == 100.0


def test_a_state_keeps_no_pictures_be_it_resumed(
    open_editor: LiveEdit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[int, int]] = []
    predict = LiveEdit.predict

    def watched(self: LiveEdit, state: Any, *given: Any, **options: Any) -> Any:
        kept.extend(expert.edit.image.size for expert in state or ())
        return predict(self, state, *given, **options)

    def stop(done: int, total: int, label: str) -> None:
        if label.startswith("testing"):
            raise KeyboardInterrupt

    options = LifelongOptions((2,), (0,), least_tests=2, timed=1, pool=4, max_new_tokens=2)
    monkeypatch.setattr(LiveEdit, "predict", watched)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        # A state as it was saved when its pictures were still kept.
        patch.setattr(lifelong, "apply_edits", lambda editor, state, edits: editor.edit(state, edits, template=False))
        run_lifelong(open_editor, Cached(), options, tmp_path, progress=stop, save_seconds=0.0)
    assert kept and (1, 1) not in kept
    assert list((tmp_path / "states").glob("*.state"))
    kept.clear()
    (tmp_path / "runs" / "n2-seed0-chunk0.json").unlink()
    run_lifelong(open_editor, Cached(), options, tmp_path)
    assert set(kept) == {(1, 1)}
    kept.clear()
    run_lifelong(open_editor, Cached(), options, tmp_path / "other")
    run_conflicts(open_editor, Cached(), 2, (0,), tmp_path / "conflicts", max_new_tokens=2)
    assert set(kept) == {(1, 1)}


def test_the_batch_size_is_kept_to_and_changes_nothing(
    whole: tuple[Path, dict[str, Any]], open_editor: LiveEdit, tmp_path: Path, asked: list[int]
) -> None:
    conflicts = []
    for size, most in ((3, 3), (64, 24)):
        asked.clear()
        folder = tmp_path / str(size)
        options = replace(SMALL, batch_size=size)
        result = run_lifelong(open_editor, Cached(), options, folder, label="tiny")
        assert numbers_of(result) == numbers_of(whole[1])
        assert max(asked) == most
        asked.clear()
        conflicts.append(run_conflicts(open_editor, Cached(), 4, (0,), folder / "c", max_new_tokens=2, batch_size=size))
        assert max(asked) == min(size, 8)
    assert conflicts[0] == conflicts[1]
    # The folder of an evaluation takes any batch size: its settings do not hold it.
    assert "batch_size" not in (tmp_path / "3" / "settings.json").read_text()
    again = run_lifelong(open_editor, Cached(), SMALL, tmp_path / "3", label="tiny")
    assert numbers_of(again) == numbers_of(whole[1])
    with pytest.raises(InputError, match="the batch size is 65"):
        run_conflicts(open_editor, Cached(), 4, (0,), tmp_path / "c", batch_size=65)


def test_a_forgetful_editor_without_routing(forgetful: Any, coloured: FileSource, tmp_path: Path) -> None:
    result = run_lifelong(forgetful(10), coloured, FORTY, tmp_path, name="forgetful")
    (entry,) = result["runs"]
    assert [age["edited"]["rel"]["mean"] for age in entry["ages"]] == [0.0] * 7 + [50.0, 100.0, 100.0]
    assert [age["age"] for age in entry["ages"]][-3:] == [[8, 11], [4, 7], [0, 3]]
    edited, unedited = entry["edited"], entry["unedited"]
    assert edited["rel"]["mean"] == edited["rel.exact"]["mean"] == 25.0
    assert edited["m_gen"]["mean"] == unedited["rel"]["mean"] == 0.0
    assert edited["t_loc"]["mean"] == edited["m_loc"]["mean"] == edited["hard.all"]["mean"] == 100.0
    assert not any(name.startswith(("recall", "passed", "false", "m_loc.some")) for name in edited)
    assert entry["cost"]["bytes"] == 400


def test_routing_and_age_of_a_sampled_run(forgetful: Any, coloured: FileSource, tmp_path: Path) -> None:
    options = LifelongOptions((40,), (0, 1), tests_per_run=8, least_tests=1, timed=1)
    result = run_lifelong(forgetful(20, routes=True), coloured, options, tmp_path)
    (entry,) = result["runs"]
    assert (entry["tested"], entry["tested_per_run"]) == (16, 8)
    # Of eight tested edits, one in each eighth of the order, the last four are remembered.
    assert entry["edited"]["rel"]["mean"] == entry["edited"]["recall.rel"]["mean"] == 50.0
    assert entry["edited"]["recall.m_gen"]["mean"] == 0.0
    assert entry["edited"]["false.some_passed"]["mean"] == 0.0


def test_pictures_that_an_edit_concerns_are_no_false_activations(
    forgetful: Any, coloured: FileSource, tmp_path: Path
) -> None:
    class Concerned(FileSource):
        def draw(self, count: int, seed: int, progress: Any = None) -> Benchmark:
            found = super().draw(count, seed, progress)
            return Benchmark(found.samples, found.edited, [*found.edited[:3], *found.unrelated[3:]])

    source = Concerned("coloured", coloured.samples)
    result = run_lifelong(forgetful(40, routes=True), source, FORTY, tmp_path)
    (entry,) = result["runs"]
    assert entry["edited"]["m_loc.passed"]["n"] == 40
    assert entry["edited"]["false.passed"]["n"] == 37


def test_the_unedited_model_is_an_editor_too(open_editor: LiveEdit, tmp_path: Path) -> None:
    options = LifelongOptions((2,), (0,), least_tests=2, timed=1, pool=4, max_new_tokens=3)
    result = run_lifelong(Unedited(open_editor.backbone), Cached(), options, tmp_path, name="unedited")
    (entry,) = result["runs"]
    assert entry["cost"]["bytes"] == 0
    for name, value in entry["unedited"].items():
        assert entry["edited"][name] == value
    assert entry["edited"]["m_loc"]["mean"] == entry["edited"]["hard.all"]["mean"] == 100.0


def test_unedited_answers_are_shared_between_editors(
    whole: tuple[Path, dict[str, Any]], open_editor: LiveEdit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    answer = LiveEdit.answer

    def watched(self: LiveEdit, state: Any, query: Any, **options: Any) -> Any:
        if isinstance(query, list):
            asked.append(state)
        return answer(self, state, query, **options)

    monkeypatch.setattr(LiveEdit, "answer", watched)
    shared = tmp_path / "unedited"
    shutil.copytree(whole[0] / "unedited", shared)
    result = run_lifelong(open_editor, Cached(), SMALL, tmp_path / "mine", unedited=shared)
    assert asked
    assert None not in asked
    assert numbers_of(result) == numbers_of(whole[1])
    with pytest.raises(InputError, match="unedited answers with max_new_tokens 3, not 4"):
        options = LifelongOptions((1,), (0, 1), least_tests=2, timed=1, max_new_tokens=4, pool=4)
        run_lifelong(open_editor, Cached(), options, tmp_path / "other", unedited=shared)


def test_a_folder_of_another_evaluation_is_refused(forgetful: Any, coloured: FileSource, tmp_path: Path) -> None:
    run_lifelong(forgetful(5), coloured, FORTY, tmp_path)
    with pytest.raises(InputError, match=r'with editor.fingerprint "forgetful", not "other": choose another'):
        run_lifelong(forgetful(5, fingerprint="other"), coloured, FORTY, tmp_path)
    with pytest.raises(InputError, match=r"holds an evaluation with options.seeds \[0\], not \[1\]"):
        run_lifelong(forgetful(5), coloured, LifelongOptions((40,), (1,), least_tests=1, timed=1), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"complete": true, "tests": [], "cost": null}', '{"tests": []}'])
def test_a_damaged_file_is_named(text: str, forgetful: Any, coloured: FileSource, tmp_path: Path) -> None:
    run_lifelong(forgetful(5), coloured, FORTY, tmp_path)
    path = tmp_path / "runs" / "n40-seed0-chunk0.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"n40-seed0-chunk0\.json (cannot be read|is damaged).*delete it"):
        run_lifelong(forgetful(5), coloured, FORTY, tmp_path)
    path.unlink()
    block = tmp_path / "unedited" / "seed-0" / "00001.json"
    block.write_text(json.dumps({"prompts": json.loads(block.read_text())["prompts"], "responses": [{}]}))
    with pytest.raises(InputError, match=r"00001\.json is damaged: delete it"):
        run_lifelong(forgetful(5), coloured, FORTY, tmp_path)


def test_files_of_another_benchmark_are_refused(forgetful: Any, coloured: FileSource, tmp_path: Path) -> None:
    def stop(done: int, total: int, label: str) -> None:
        if label.startswith("testing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lifelong(forgetful(5), coloured, FORTY, tmp_path, progress=stop)
    path = tmp_path / "runs" / "n40-seed0-chunk0.json"
    content = json.loads(path.read_text())
    content["tests"][0]["prompt"] = "something else"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="tests another benchmark's edits"):
        run_lifelong(forgetful(5), coloured, FORTY, tmp_path)


def test_an_unwritable_folder_is_refused(forgetful: Any, coloured: FileSource, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run_lifelong(forgetful(5), coloured, FORTY, tmp_path / "file")
