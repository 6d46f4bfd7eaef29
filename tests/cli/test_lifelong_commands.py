"""``lifelong``, ``report`` and ``study`` from the command line: results, resuming, refusals in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liveedit.cli import main
from liveedit.data import Reading
from liveedit.editors import LiveEdit
from liveedit.evaluation import conflicts, plan

Call = Callable[..., tuple[int, str, str]]
SMALL = ["--edits", "2", "--seeds", "0", "--least-tests", "2", "--timed", "1"]


@pytest.fixture(scope="module")
def models(lively_backbone_folder: Path, open_editor: LiveEdit, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name the tiny models."""
    folder = tmp_path_factory.mktemp("lifelong-cli") / "editor"
    open_editor.save_pretrained(folder)
    return ["--backbone", str(lively_backbone_folder), "--editor", str(folder), "--device", "cpu"]


@pytest.fixture
def call(models: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command that asks for short answers; returns exit code, stdout and stderr."""
    options = plan.LifelongOptions
    monkeypatch.setattr(plan, "LifelongOptions", lambda *given, **more: options(*given, **more, max_new_tokens=3))

    def run(*argv: object, with_models: bool = True) -> tuple[int, str, str]:
        code = main([*(str(a) for a in argv[:1]), *(models if with_models else []), *(str(a) for a in argv[1:])])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return run


def test_editors_are_measured_and_reported_side_by_side(call: Call, tmp_path: Path) -> None:
    code, out, err = call("lifelong", *SMALL, "--out", tmp_path / "one", "--json")
    assert code == 0
    result = json.loads(out)
    assert result == json.loads((tmp_path / "one" / "lifelong.json").read_text())
    assert result["label"] == "liveedit"
    assert [entry["edits"] for entry in result["runs"]] == [2]
    assert "drawing the benchmark" in err
    assert "testing n2-seed0-chunk0" in err
    again = json.loads(call("lifelong", *SMALL, "--out", tmp_path / "one", "--json")[1])
    assert again == result
    shared = ("--unedited", tmp_path / "one" / "unedited")
    code, out, _ = call(
        "lifelong", *SMALL, "--out", tmp_path / "two", "--editor", "unedited", "--label", "none", *shared
    )
    assert code == 0
    assert "| none " in out
    assert not (tmp_path / "two" / "unedited").exists()
    report = ("report", tmp_path / "one", f"floor={tmp_path / 'two'}", "--out", tmp_path / "report")
    code, out, _ = call(*report, "--json", with_models=False)
    assert code == 0
    files = json.loads(out)["files"]
    assert all(Path(file).is_file() for file in files)
    text = (tmp_path / "report" / "lifelong.md").read_text()
    assert "| liveedit " in text
    assert "| floor " in text
    assert call(*report, with_models=False)[1].split() == files


def test_studies(call: Call, tmp_path: Path, models: list[str]) -> None:
    trained = f"other layer={models[3]}"
    code, out, _ = call("study", "ablation", *SMALL, "--editors", trained, "--out", tmp_path / "ablation")
    assert code == 0
    assert "HR*" in out
    assert "| other layer " in out
    assert (tmp_path / "ablation" / "ablation-bars.svg").is_file()
    code, out, _ = call("study", "conflicts", *SMALL, "--out", tmp_path / "conflicts", "--json")
    assert code == 0
    assert json.loads(out)["study"] == "conflicts"
    assert (tmp_path / "conflicts" / "conflicts.md").is_file()


def test_a_study_trains_what_it_compares(
    call: Call, tmp_path: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"layer": 1, "module_dim": 32, "rank": 4, "queries": 2, "heads": 4, "lora_scale": 1.0}
    monkeypatch.setattr("liveedit.cli.study.EMBEDDED", shape)
    short = ("--solo-steps", 0, "--routing-cases", 24, "--routing-steps", 1, "--steps", 0, "--memory", 0)
    study = ("study", "ablation", *SMALL, "--train", *short, "--only", "HR*", "- l_sr1", "--out", tmp_path)
    code, out, _ = call(*study)
    assert code == 0
    assert "| HR* " in out and "| - l_sr1 " in out and "trained alike" not in out.split("\n\n")[1]
    names = ("whole-picture-true", "absolute-loss-false")
    trained = [json.loads((tmp_path / "trained" / name / "training.json").read_text()) for name in names]
    assert [record["absolute_loss"] for record in trained] == [True, False]
    assert json.loads((tmp_path / "trained" / names[0] / "config.json").read_text())["whole_picture"]
    written = (tmp_path / "trained" / names[0] / "editor.safetensors").stat().st_mtime_ns
    assert call(*study)[0] == 0
    assert (tmp_path / "trained" / names[0] / "editor.safetensors").stat().st_mtime_ns == written
    code, _, err = call(*study, "--routing-steps", 2)
    assert code == 2
    assert "was trained with routing_steps 1, not 2" in err


def test_studies_share_what_is_trained_alike(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "liveedit.cli.study.EMBEDDED",
        {"layer": 1, "module_dim": 32, "rank": 4, "queries": 2, "heads": 4, "lora_scale": 1.0},
    )
    short = ("--solo-steps", 0, "--routing-cases", 24, "--routing-steps", 1, "--steps", 0, "--memory", 0)
    trained = ("--train", *short, "--trained", tmp_path / "trained")
    weights = tmp_path / "trained" / "as-usual" / "editor.safetensors"
    seen = []
    for name, label in (("layer", "layer 1"), ("queries", "k = 2"), ("twice", "once")):
        code, out, _ = call("study", name, *SMALL, *trained, "--only", label, "--out", tmp_path / name)
        assert code == 0
        assert f"| {label} " in out
        seen.append(weights.stat().st_mtime_ns)
    assert seen == [seen[0]] * 3
    assert [path.name for path in (tmp_path / "trained").iterdir()] == ["as-usual"]
    assert call("study", "twice", *SMALL, *trained, "--only", "once", "--layer", 2, "--out", tmp_path / "other")[0] == 0
    other = json.loads((tmp_path / "trained" / "layer-2" / "config.json").read_text())
    assert (other["layer"], other["module_dim"]) == (2, 32)


@pytest.fixture
def captions(publish: Callable[..., Path], published_row: Callable[[str, int], dict[str, Any]]) -> list[str]:
    """Options that name four samples of E-IC, one of them with a caption that is longer than an answer may be."""
    rows = [published_row("eic", n) for n in range(4)]
    rows[1]["alt"] = "a boat " * 40
    return ["--benchmark", "eic", "--root", str(publish("caption_eval_edit.json", rows))]


@pytest.mark.parametrize("command", ["lifelong", "conflicts", "compare"])
def test_captions_that_are_too_long_are_left_out_and_counted(
    command: str, call: Call, captions: list[str], tmp_path: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conflicts, "CONDITIONS", {"once": conflicts.CONDITIONS["once"]})
    few = ["--edits", "3", "--seeds", "0", "--least-tests", "2", "--timed", "1", "--batch-size", "2", *captions]
    out = tmp_path / "out"
    if command == "compare":
        words = [command, *models[:2], *models[4:], "--editors", f"liveedit={models[3]}"]
        code, said, err = call(*words, *few, "--out", out, with_models=False)
        written = json.loads((out / "editors.json").read_text())["results"][0]
    else:
        words = [command] if command == "lifelong" else ["study", command]
        code, said, err = call(*words, *few, "--out", out)
        written = json.loads((out / ("lifelong.json" if command == "lifelong" else "study.json")).read_text())
    assert code == 0
    assert "leaving 1 samples out whose question or answer is too long" in err
    assert "Benchmark eic (1 of its samples left out as too long for the backbone), seeds 0" in said
    assert (written["benchmark"]["samples"], written["benchmark"]["too_long"]) == (3, 1)
    more = [word if word != "3" else "4" for word in few]
    seen = call(*words, *more, "--out", tmp_path / "more", with_models=command != "compare")
    refused(seen, "4 edits were asked for, the benchmark has 3")
    assert not (tmp_path / "more").exists()


def refused(seen: tuple[int, str, str], words: str) -> None:
    code, out, err = seen
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["lifelong", "--edits", "0"], "0 edits were asked for"),
        (["lifelong", "--seeds", "-1"], "the seed is -1"),
        (["lifelong", "--edits", "5", "--pool", "3"], "5 edits were asked for, the pool has 3"),
        (["lifelong", "--batch-size", "0"], "the batch size is 0: choose 1 to 64"),
        (["study", "conflicts", "--edits", "2", "--batch-size", "65"], "the batch size is 65: choose 1 to 64"),
        (["evaluate", "--batch-size", "0"], "the batch size is 0: choose 1 to 64"),
        (["lifelong", "--benchmark", "evqa"], "needs --root DIR"),
        (["lifelong", "--data", "x.json"], "belongs to a published benchmark"),
        (["lifelong", "--editor", "nothing"], "there is no editor 'nothing'"),
        (["study", "layer"], "name some with --editors"),
        (["study", "routing", "--train"], "compares nothing that is trained for it"),
        (["study", "layer", "--train", "--only", "layer 99"], "there is no variant 'layer 99'"),
        (["study", "layer", "--editors", "nothing"], "names no trained editor"),
        (["study", "layer", "--editors", "a=nowhere"], "there is no folder nowhere"),
        (["study", "routing", "--editor", "unedited"], "has no routing to vary"),
        (["study", "conflicts", "--edits", "1", "2"], "takes one number of --edits"),
        (["study", "conflicts", "--edits", "1"], "a rival answer needs at least 2"),
    ],
)
def test_what_cannot_be_is_refused(argv: list[str], words: str, call: Call, tmp_path: Path) -> None:
    refused(call(*argv, "--out", tmp_path / "out"), words)


def test_more_edits_than_the_file_has_are_refused(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = Reading([None] * 3, "x", 3, "all", 3, 0)  # type: ignore[list-item]
    monkeypatch.setattr("liveedit.cli.measuring.read_published", lambda _: three)
    evqa = ("--benchmark", "evqa", "--root", "y")
    refused(call("lifelong", "--edits", "7", *evqa, "--out", tmp_path), "7 edits were asked for, the benchmark has 3")


def test_a_folder_that_is_no_place_to_write_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(call("lifelong", *SMALL, "--out", tmp_path / "file"), "cannot be written")
    refused(call("report", tmp_path, "--out", tmp_path, with_models=False), "no finished evaluation")
