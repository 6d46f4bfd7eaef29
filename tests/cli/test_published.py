"""Published benchmarks on the command line: what is missing of them, which samples are chosen, refusals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liveedit.backbones import Backbone
from liveedit.cli import evaluate as evaluate_command
from liveedit.cli import lifelong as lifelong_command
from liveedit.cli import main
from liveedit.cli import train as train_command
from liveedit.cli.measuring import source_of
from liveedit.editors import LiveEdit
from liveedit.evaluation import protocol
from liveedit.types import LiveEditError

Publish = Callable[..., Path]
Row = Callable[[str, int], dict[str, Any]]


def evaluate(*words: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate_command.add_arguments(parser)
    code: int = evaluate_command.run(parser.parse_args(words))
    return code


def test_check_data_tells_by_its_exit_code(
    publish: Publish, published_row: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [published_row("evqa", n) for n in range(2)]
    root = publish("vqa/vqa_train.json", rows, "images")
    asked = ["check-data", "evqa", "--root", str(root)]
    assert main([*asked, "--split", "train"]) == 0
    assert "E-VQA" in capsys.readouterr().out
    assert main(asked) == 2
    assert "eval: no vqa_eval.json" in capsys.readouterr().out
    (root / "images" / rows[1]["m_loc"]).unlink()
    assert main([*asked, "--json-file", str(root / "vqa/vqa_train.json"), "--json"]) == 2
    value = json.loads(capsys.readouterr().out)
    assert value["complete"] is False
    assert [(p["wanted"], p["missing"], p["names"]) for p in value["pictures"]] == [
        (4, 1, [rows[1]["m_loc"]]),
        (2, 0, []),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check-data", "evqa"], "needs --root"),
        (["check-data", "evqa", "--root", "none"], "there is no folder none"),
        (["check-data", "evqa", "--root", ".", "--split", "onehop"], "E-VQA has no split 'onehop'"),
        (["check-data", "evqa", "--root", ".", "--split", "eval", "--json-file", "x"], "leave one of them out"),
    ],
)
def test_check_data_refuses_what_cannot_be(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    seen = capsys.readouterr()
    assert seen.out == "" and said in seen.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--benchmark", "vlkeb"], "needs --root DIR"),
        (["--benchmark", "world", "--allow-missing"], "--allow-missing belongs to a published benchmark"),
        (["--subset", "leak-free"], "--subset belongs to"),
        (["--benchmark", "vlkeb", "--root", "ROOT", "--split", "multihop"], "has no eval_multihop.json"),
        (["--benchmark", "eic", "--root", "ROOT", "--split", "multihop"], "E-IC has no split"),
        (["--benchmark", "vlkeb", "--root", "ROOT", "--split", "eval", "--json-file", "x"], "leave one of them out"),
        (["--benchmark", "vlkeb", "--root", "ROOT", "--subset", "leak-free"], "--training-file"),
        (["--benchmark", "vlkeb", "--root", "ROOT", "--edits", "3"], "has 2 samples; 2 are taken: ask for --edits 2"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_a_model_is_loaded(
    publish: Publish, published_row: Row, words: list[str], said: str
) -> None:
    root = publish("eval.json", [published_row("vlkeb", n) for n in range(2)], "mmkb_images")
    with pytest.raises(LiveEditError) as caught:
        evaluate(*(str(root) if word == "ROOT" else word for word in words), "--backbone", "none")
    assert said in str(caught.value)


def test_a_published_benchmark_is_evaluated(
    publish: Publish,
    published_row: Row,
    tiny_editor: LiveEdit,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "MAX_NEW_TOKENS", 2)
    tiny_editor.save_pretrained(tmp_path / "editor")
    rows = [published_row("vlkeb", n) for n in range(4)]
    rows[0]["port_new"] = [{"port_type": "3-hop", "Q&A": {"Question": "And then?", "Answer": "rain"}}]
    rows[3]["alt"] = "a boat " * 40
    root = publish("eval_multihop.json", rows, "mmkb_images")
    publish("train.json", [rows[2]], "mmkb_images")
    (root / "mmkb_images" / rows[1]["image"]).unlink()
    models = ["--backbone", tiny_editor.backbone.name, "--editor", str(tmp_path / "editor"), "--device", "cpu"]
    chosen = ["--split", "multihop", "--subset", "leak-free", "--allow-missing", "--edits", "2"]
    out = tmp_path / "result.md"
    assert evaluate("--benchmark", "vlkeb", "--root", str(root), *chosen, *models, "--json", "--out", str(out)) == 0
    seen = capsys.readouterr()
    result = json.loads(seen.out)
    assert (result["benchmark"], result["edits"]) == ("vlkeb", 1)
    assert result["selection"] == {
        "source": "eval_multihop.json", "rows": 4, "subset": "leak-free", "in_subset": 3, "samples": 2, "dropped": 1,
        "too_long": 1,
    }  # fmt: skip
    assert result["portability"]["edited"]["by_hop"]["3-hop"]["questions"] == 1
    # Hard locality is derived: of VLKEB the edit's prompt on the M-Loc picture.
    hard = result["edited"]["hard_locality"]
    assert (hard["probes"], hard["same_picture"]) == (1, None) and hard["near_miss"] == hard["all"] is not None
    assert result["unedited"]["hard_locality"]["near_miss"] == 100.0
    assert "has 4 samples, 3 of them in the subset leak-free, 1 left out for missing pictures; 2 are taken" in seen.err
    assert "leaving 1 samples out" in seen.err
    text = out.read_text()
    assert "subset leak-free with 3 of 4 samples; 1 left out for missing pictures, 1 as too long" in text
    assert "edited, 3-hop" in text


def test_an_edit_concerns_other_pictures_of_its_entity(publish: Publish, published_row: Row) -> None:
    rows = [published_row("vlkeb", n) for n in range(3)]
    rows[1]["m_loc"] = "m.00/yahoo_7.jpg"  # of what the first row edits
    root = publish("eval.json", rows, "mmkb_images")
    parser = argparse.ArgumentParser()
    lifelong_command.add_arguments(parser)
    found = source_of(parser.parse_args(["--benchmark", "vlkeb", "--root", str(root), "--out", "out"])).draw(3, 0)
    concerned = {s.alt: name in found.edited for s, name in zip(found.samples, found.unrelated, strict=True)}
    assert concerned == {"boat 0": False, "boat 1": True, "boat 2": False}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--benchmark", "vlkeb"], "needs --root DIR"),
        (["--root", "ROOT"], "--root belongs to a published benchmark"),
        (["--allow-missing"], "--allow-missing belongs to"),
        (["--benchmark", "vlkeb", "--root", "ROOT", "--photos", "x.zip"], "--photos and --annotations belong to"),
        (["--benchmark", "evqa", "--root", "ROOT"], "has no vqa_train.json"),
        (["--benchmark", "vlkeb", "--root", "ROOT"], "1 picture is missing"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_a_model_is_loaded(
    publish: Publish, published_row: Row, words: list[str], said: str
) -> None:
    rows = [published_row("vlkeb", n) for n in range(2)]
    root = publish("train.json", rows, "VLKEB_images")
    (root / "VLKEB_images" / rows[1]["image"]).unlink()
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    given = [str(root) if word == "ROOT" else word for word in words]
    args = parser.parse_args(["--out", str(root / "out"), "--backbone", "none", *given])
    with pytest.raises(LiveEditError) as caught:
        train_command.run(args)
    assert said in str(caught.value)
    assert not (root / "out").exists()


def test_an_editor_is_trained_on_a_published_benchmark(
    publish: Publish, published_row: Row, lively_backbone: Backbone, capsys: pytest.CaptureFixture[str]
) -> None:
    """All three stages, validated on the pictures of entities that training does not see."""
    rows = [published_row("vlkeb", n) for n in range(40)]
    root = publish("train.json", rows, "mmkb_images")
    (root / "mmkb_images" / rows[3]["image"]).unlink()
    steps = "--solo-steps 2 --solo-batch 2 --routing-cases 4 --routing-batch 3 --routing-steps 2 --steps 2 --batch 2"
    shape = "--layer 1 --module-dim 32 --rank 4 --queries 2 --heads 4"
    rest = "--validate-every 2 --validation-cases 2 --warmup 1 --log-every 1 --device cpu --allow-missing --json"
    where = ["--benchmark", "vlkeb", "--root", str(root), "--out", str(root / "out")]
    words = ["train", *where, "--backbone", lively_backbone.name, *f"{steps} {shape} {rest}".split()]
    assert main(words) == 0
    seen = capsys.readouterr()
    assert json.loads(seen.out) == {"out": str(root / "out")}
    assert "has 40 samples, 1 left out for missing pictures; 39 are taken" in seen.err
    curve = [json.loads(line) for line in (root / "out" / "curve.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in curve] == ["solo"] * 2 + ["routing"] * 2 + ["joint"] * 2
    assert all("held_out_loss" in row for row in curve[1::2])
    # What the training records is what it did: benchmarks are asked without a chat template.
    assert not json.loads((root / "out" / "training.json").read_text())["chat_template"]
    editor = LiveEdit.from_pretrained(root / "out", lively_backbone)
    assert editor.config.backbone == lively_backbone.fingerprint
