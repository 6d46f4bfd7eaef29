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
from liveedit.cli import jobs, main
from liveedit.configs import TRAINED
from liveedit.data import BENCHMARKS, read_benchmark
from liveedit.editors import EDITORS, LiveEdit
from liveedit.evaluation import lifelong
from liveedit.evaluation.editors_report import LABELS, costs_table, curve_seconds, training_time
from liveedit.training.benchmark_samples import BenchmarkCases
from liveedit.training.records import STATE, load_state
from liveedit.training.serac import SeracTrainee

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
    assert [result["label"] for result in found] == ["MEND", "RECIPE", "LiveEdit"]
    assert found[0]["benchmark"] == found[2]["benchmark"]
    assert found[1]["training_seconds"] > 0 and found[1]["training_complete"]
    assert found[2]["training_seconds"] is None
    assert all(result["measuring_seconds"] > 0 and result["measuring_complete"] for result in found)
    assert (out / "editors-curves.svg").is_file() and (out / "editors-cost.md").is_file()
    written = (out / "trained" / "recipe" / "editor.safetensors").stat().st_mtime_ns
    # One editor more, later: the tables hold all that were measured alike, and say which are not among them.
    assert main([*command[:-3], "ft-m", "recipe"]) == 0
    assert (out / "trained" / "recipe" / "editor.safetensors").stat().st_mtime_ns == written
    said = capsys.readouterr()
    again = json.loads((out / "editors.json").read_text())["results"]
    assert [result["label"] for result in again] == ["FT-M", "MEND", "RECIPE", "LiveEdit"]
    assert again[1:] == found
    assert "measured alike: ft-l, serac, tp, lte, lemoe, retrieval" in said.err
    # Another number of edits is no part of this table, and what was trained otherwise is not passed off.
    assert main([*command[:-3], "mend", "--edits", "2"]) == 2
    assert "with options.edits [1], not [2]" in capsys.readouterr().err
    annotations = tmp_path / "annotations.json"
    annotations.write_text("[]")
    assert main([*command, "--annotations", str(annotations)]) == 2
    assert "trained on other photographs, annotations or samples" in capsys.readouterr().err
    shorten("mend", monkeypatch, layers=1, above=0, rank=5)
    assert main(command) == 2
    assert f"the mend in {out / 'trained' / 'mend'} was trained with rank 4, not 5" in capsys.readouterr().err


def test_an_interrupted_comparison_goes_on_where_it_was(
    lively_backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, training = TRAINED["serac"].presets["embedded"]
    short = replace(training, steps=3, batch=2, warmup=0, save_every=1)
    small = replace(architecture, scope_layers=1, scope_width=64, answer_layers=1)
    monkeypatch.setitem(configs.TRAINED, "serac", replace(TRAINED["serac"], presets={"embedded": (small, short)}))
    where = ["compare", "--backbone", str(lively_backbone_folder), "--device", "cpu", *SMALL, "--editors", "ft-m", "serac"]
    interrupted, straight = [*where, "--out", str(tmp_path / "parts")], [*where, "--out", str(tmp_path / "whole")]

    def cut(module: Any, name: str, calls: int) -> int:
        """Run until the given call of a function, which is interrupted as by a person."""
        honest, left = getattr(module, name), [calls]

        def interrupts(*given: Any, **more: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return honest(*given, **more)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupts)
            return main(interrupted)

    assert cut(lifelong, "respond", 2) == 130
    assert not (tmp_path / "parts" / "editors.json").exists()
    first = tmp_path / "parts" / "ft-m" / "runs" / "n1-seed0-chunk0.json"
    measured = first.stat().st_mtime_ns
    assert cut(SeracTrainee, "loss", 3) == 130
    assert load_state(tmp_path / "parts" / "trained" / "serac" / "run" / STATE)["step"] == 2
    assert cut(lifelong, "measure_cost", 1) == 130
    trained = tmp_path / "parts" / "trained" / "serac" / "editor.safetensors"
    written = trained.stat().st_mtime_ns
    assert main(interrupted) == 0
    assert first.stat().st_mtime_ns == measured
    assert trained.stat().st_mtime_ns == written
    assert main(straight) == 0
    found, wanted = (json.loads((tmp_path / part / "editors.json").read_text())["results"] for part in ("parts", "whole"))
    for one, other in zip(found, wanted, strict=True):
        assert one["measuring_complete"] and one["editor"] == other["editor"]
        for mine, straightforward in zip(one["runs"], other["runs"], strict=True):
            assert mine["edited"] == straightforward["edited"] and mine["unedited"] == straightforward["unedited"]


def test_editors_are_measured_beside_each_other_and_those_that_fail_are_told(
    open_editor: LiveEdit, lively_backbone_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    open_editor.save_pretrained(tmp_path / "ours")
    # Looks whole until it is loaded.
    broken = tmp_path / "lte"
    broken.mkdir()
    fitting = {"editor": "lte", "backbone": open_editor.backbone.fingerprint}
    (broken / "config.json").write_text(json.dumps(fitting))
    (broken / "editor.safetensors").write_bytes(b"")
    command = ["compare", "--backbone", str(lively_backbone_folder), "--device", "cpu", *SMALL, "--out", str(out), "--json"]
    assert main([*command, "--jobs", "2", "--editors", f"liveedit={tmp_path / 'ours'}", f"lte={broken}", "ft-m"]) == 2
    said = capsys.readouterr()
    assert "of 3 editors 1 failed (lte: the editor at" in said.err and "is damaged" in said.err
    assert json.loads(said.out)["failed"].keys() == {"lte"}
    results = json.loads((out / "editors.json").read_text())["results"]
    assert [result["label"] for result in results] == ["FT-M", "LiveEdit"]
    assert "testing n1-seed0-chunk0" in (out / "logs" / "ft-m.log").read_text()
    assert main([*command, "--jobs", "0"]) == 2


def test_commands_that_run_beside_each_other_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = []

    class Process:
        def __init__(self, words: list[str], env: dict[str, str], **_: Any) -> None:
            began.append((words[3:], env["OMP_NUM_THREADS"], len(alive)))
            alive.append(self)
            self.returncode: int | None = None

        def poll(self) -> int | None:
            if self.returncode is None:
                self.returncode = 0
                alive.remove(self)
            return self.returncode

    alive: list[Process] = []
    monkeypatch.setattr(jobs.subprocess, "Popen", Process)
    monkeypatch.setattr(jobs, "_cores", lambda: 7)
    assert jobs.run_beside({name: [name] for name in "abc"}, 2, tmp_path / "logs") == {}
    assert began == [(["a"], "3", 0), (["b"], "3", 1), (["c"], "3", 0)]


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
    assert main(["compare", *where, *SMALL, "--editors", "lte", "liveedit"]) == 2
    assert "--editors liveedit=FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize(
    ("editors", "words"), [(["nothing"], "no editor 'nothing'"), (["ft-l", "ft-l"], "was given twice"),
     (["ft-l", "unedited"], "leave it out of --editors")],
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
