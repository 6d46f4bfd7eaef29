"""``compare``: baselines are trained once, all editors meet the same samples, tables hold what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liveedit import configs
from liveedit.backbones import Backbone
from liveedit.cli import main
from liveedit.configs import TRAINED
from liveedit.data import BENCHMARKS, read_benchmark
from liveedit.editors import EDITORS, LiveEdit
from liveedit.evaluation.editors_report import LABELS, costs_table, curve_seconds, training_time
from liveedit.training.benchmark_samples import BenchmarkCases
from liveedit.training.records import STATE, load_state

SMALL = ["--edits", "1", "--seeds", "0", "--least-tests", "2", "--timed", "1"]


def test_editors_are_trained_measured_and_put_side_by_side(
    open_editor: LiveEdit,
    lively_backbone_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten("recipe", monkeypatch, layer=0)
    # What computes in another precision is trained in the same process.
    shorten("mend", monkeypatch, layers=1, above=0, rank=4)
    precisions = [TRAINED[name].presets["embedded"][1].mixed_precision for name in ("recipe", "mend")]
    assert precisions == ["bf16", "no"]
    open_editor.save_pretrained(tmp_path / "ours")
    out = tmp_path / "out"
    command = ["compare", "--backbone", str(lively_backbone_folder), "--device", "cpu", *SMALL, "--out", str(out)]
    command += ["--editors", "recipe", f"liveedit={tmp_path / 'ours'}", "mend"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "| RECIPE " in text and "| LiveEdit " in text and "| unedited model " in text
    found = json.loads((out / "editors.json").read_text())["results"]
    assert [result["label"] for result in found] == ["RECIPE", "LiveEdit", "MEND"]
    assert found[0]["benchmark"] == found[1]["benchmark"]
    assert found[0]["training_seconds"] > 0 and found[0]["training_complete"]
    assert found[1]["training_seconds"] is None
    assert (out / "editors-curves.svg").is_file() and (out / "editors-cost.md").is_file()
    written = (out / "trained" / "recipe" / "editor.safetensors").stat().st_mtime_ns
    assert main(command) == 0
    assert (out / "trained" / "recipe" / "editor.safetensors").stat().st_mtime_ns == written


def shorten(name: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """A preset of one step, for an editor of another shape."""
    architecture, training = TRAINED[name].presets["embedded"]
    short = {"embedded": (replace(architecture, **changes), replace(training, steps=1, batch=2, warmup=0))}
    monkeypatch.setitem(configs.TRAINED, name, replace(TRAINED[name], presets=short))


def test_baselines_are_trained_on_the_published_benchmark_that_measures_them(
    publish: Callable[..., Path],
    published_row: Callable[[str, int], dict[str, Any]],
    lively_backbone: Backbone,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten("retrieval", monkeypatch, layer=1)
    rows = [published_row("vlkeb", n) for n in range(8)]
    publish("eval.json", rows[5:], "mmkb_images")
    root, out = publish("train.json", rows[:5], "mmkb_images"), tmp_path / "out"
    command = ["compare", "--backbone", lively_backbone.name, "--device", "cpu", *SMALL, "--out", str(out)]
    command += ["--editors", "retrieval", "--benchmark", "vlkeb", "--root", str(root)]
    assert main([*command, "--photos", "photos.zip"]) == 2
    assert "belong to the emoji world" in capsys.readouterr().err
    assert main(command) == 0
    trained = out / "trained" / "retrieval-vlkeb"
    # In the words of the measurement: bare prompts, out of the training samples.
    assert not json.loads((trained / "training.json").read_text())["chat_template"]
    samples = read_benchmark(BENCHMARKS["vlkeb"], root / "train.json", root).samples
    config = TRAINED["retrieval"].presets["embedded"][1]
    wanted = BenchmarkCases.of(lively_backbone, BENCHMARKS["vlkeb"], samples, config).checksum("train")
    assert load_state(trained / "run" / STATE)["settings"]["data"] == wanted
    assert json.loads((out / "editors.json").read_text())["results"][0]["benchmark"]["name"] == "vlkeb"


def test_the_shipped_editor_is_refused_for_another_backbone_before_anything_is_trained(
    lively_backbone_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--backbone", str(lively_backbone_folder), "--device", "cpu", "--out", str(tmp_path)]
    assert main(["compare", *where, *SMALL, "--editors", "mend", "liveedit"]) == 2
    assert "--editors liveedit=FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize(
    ("editors", "words"), [(["nothing"], "no editor 'nothing'"), (["unedited", "unedited"], "was given twice")]
)
def test_what_cannot_be_compared_is_refused(
    editors: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--editors", *editors, "--out", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_every_editor_has_a_name_for_tables() -> None:
    assert set(EDITORS) <= set(LABELS)
    assert len(set(LABELS.values())) == len(LABELS)


def test_interrupted_trainings_count_all_their_stretches(tmp_path: Path) -> None:
    points = [("solo", 10.0), ("solo", 20.0), ("solo", 5.0), ("joint", 7.0), ("joint", 30.0)]
    curve = tmp_path / "curve.jsonl"
    curve.write_text("".join(json.dumps({"stage": stage, "seconds": s}) + "\n" for stage, s in points))
    assert curve_seconds(curve) == 20.0 + 5.0 + 30.0
    assert curve_seconds(tmp_path / "none") is None


def test_the_time_of_a_training_is_what_it_recorded_or_at_least_its_curve(tmp_path: Path) -> None:
    assert training_time(tmp_path) == {"training_seconds": None, "training_complete": False}
    (tmp_path / "curve.jsonl").write_text('{"stage": "solo", "seconds": 50.0}\n')
    for record, seconds, complete in (
        ({"steps": 3}, 50.0, False),
        ({"seconds": 70.0, "seconds_complete": True}, 70.0, True),
        ({"seconds": 70.0, "seconds_complete": False}, 70.0, False),
        ({"seconds": 20.0, "seconds_complete": False}, 50.0, False),
    ):
        (tmp_path / "training.json").write_text(json.dumps(record))
        assert training_time(tmp_path) == {"training_seconds": seconds, "training_complete": complete}


def test_costs_are_those_of_the_largest_number_of_edits() -> None:
    def entry(edits: int, seconds: float, size: int) -> dict[str, object]:
        return {"edits": edits, "cost": {"seconds_per_edit": seconds, "bytes": size, "answer_ratio": 1.25}}

    time = {"training_seconds": 90.0, "training_complete": True}
    results = [{"label": "X", **time, "runs": [entry(1, 9.0, 7), entry(10, 0.5, 40)]}]
    assert "| X | 0.500 | 2 min | 4 | 1.25 |" in " ".join(costs_table(results).split())
    results[0]["training_complete"] = False
    assert "| X | 0.500 | at least 2 min | 4 | 1.25 |" in " ".join(costs_table(results).split())
