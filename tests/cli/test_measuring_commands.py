"""``evaluate``, ``evaluate-backbone`` and ``world``: one JSON object on stdout, files, and refusals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType

import pytest

from liveedit.backbones import Backbone
from liveedit.cli import evaluate as evaluate_command
from liveedit.cli import evaluate_backbone as backbone_command
from liveedit.cli import lifelong as lifelong_command
from liveedit.cli import world as world_command
from liveedit.editors import EDITORS, LiveEdit
from liveedit.evaluation import backbone as backbone_report
from liveedit.evaluation import protocol
from liveedit.types import InputError, LiveEditError


def call(command: ModuleType, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    code: int = command.run(parser.parse_args(words))
    return code


def test_world_writes_a_benchmark_that_evaluate_reads(
    tiny_editor: LiveEdit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_NEW_TOKENS", 2)
    tiny_editor.save_pretrained(tmp_path / "editor")
    models = [
        "--backbone",
        tiny_editor.backbone.name,
        "--editor-path",
        str(tmp_path / "editor"),
        "--device",
        "cpu",
    ]
    assert call(world_command, "benchmark", "--out", str(tmp_path), "--count", "2", "--seed", "5") == 0
    path = capsys.readouterr().out.strip()
    assert path == str(tmp_path / "world_eval.json")
    from_file = ["--benchmark", "evqa", "--data", path, "--images", str(tmp_path)]
    results = []
    for source in (from_file, ["--benchmark", "world"]):
        out = tmp_path / "result.json"
        assert (
            call(
                evaluate_command, *source, *models, "--edits", "2", "--seed", "5", "--json", "--out", str(out)
            )
            == 0
        )
        results.append(json.loads(capsys.readouterr().out))
        assert json.loads(out.read_text()) == results[-1]
    assert results[0]["edited"] == results[1]["edited"]
    assert [r["benchmark"] for r in results] == ["evqa", "world"]
    assert ["selection" in r for r in results] == [True, False]
    with pytest.raises(InputError, match="has 2 samples"):
        call(evaluate_command, *from_file, *models, "--edits", "3")


@pytest.mark.parametrize(
    "words",
    [["--edits", "0"], ["--benchmark", "evqa"], ["--data", "x.json"], ["--seed", "-1"], ["--editor", "none"]],
)
def test_evaluate_refuses_what_cannot_be(words: list[str], tiny_backbone: Backbone) -> None:
    with pytest.raises(LiveEditError):
        call(evaluate_command, "--edits", "1", "--backbone", tiny_backbone.name, *words)


def test_evaluate_takes_any_registered_editor(
    tiny_backbone: Backbone, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_NEW_TOKENS", 2)
    models = ["--backbone", tiny_backbone.name, "--device", "cpu"]
    assert call(evaluate_command, *models, "--editor", "ft-l", "--edits", "1", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    # Twenty-five steps on one edit of a random model: it says what it was made to say, and did not before.
    assert result["edited"]["paper"]["rel"] > result["unedited"]["paper"]["rel"]


@pytest.mark.parametrize("command", [evaluate_command, lifelong_command])
def test_the_help_names_every_registered_editor(command: ModuleType) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    said = " ".join(parser.format_help().split())
    assert f"a registered editor ({', '.join(EDITORS)})" in said


def test_evaluate_backbone_prints_one_object(
    tiny_backbone: Backbone, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_report, "MAX_NEW_TOKENS", 2)
    monkeypatch.setattr(backbone_report, "SCENE_GROUPS", {"name": backbone_report.SCENE_GROUPS["name"]})
    assert call(backbone_command, "--backbone", tiny_backbone.name, "--per-kind", "2", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"format", "backbone", "seed", "per_kind", "groups"}
    assert call(backbone_command, "--backbone", tiny_backbone.name, "--per-kind", "1") == 0
    assert "| text facts" in capsys.readouterr().out


def test_world_writes_scenes_and_refuses_a_missing_font(tmp_path: Path) -> None:
    assert call(world_command, "scenes", "--out", str(tmp_path), "--count", "1") == 0
    assert (tmp_path / "scenes.json").is_file()
    with pytest.raises(LiveEditError, match="no font"):
        call(world_command, "draw-glyphs", "--font", str(tmp_path / "none.ttf"))
