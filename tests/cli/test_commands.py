"""The command line: exit codes, one JSON object, one sentence for a user's error, never a traceback."""

from __future__ import annotations

import argparse
import errno
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from liveedit import cli
from liveedit.cli import COMMANDS, main, options, sentence_of, train
from liveedit.config import EditorTrainingConfig
from liveedit.editors import LiveEdit

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def models(lively_backbone_folder: Path, open_editor: LiveEdit, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name the tiny models."""
    folder = tmp_path_factory.mktemp("cli") / "editor"
    open_editor.save_pretrained(folder)
    return ["--backbone", str(lively_backbone_folder), "--editor", str(folder), "--device", "cpu"]


@pytest.fixture
def call(models: list[str], capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command with the tiny models; returns exit code, stdout and stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = main([*(str(a) for a in argv), *models])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return run


@pytest.fixture
def image(tmp_path: Path, pictures: list[Image.Image]) -> Path:
    pictures[2].save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def edits(call: Call, image: Path, tmp_path: Path) -> Path:
    """A file of two edits, made by the command."""
    path = tmp_path / "edits.safetensors"
    for prompt, answer in (("What is it?", "teapot"), ("How many?", "seven")):
        assert call("edit", image, prompt, answer, "--edits", path)[0] == 0
    return path


def sentence(code: int, err: str) -> str:
    """The last line on stderr of a refused command."""
    assert code == 2
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def one_object(out: str) -> dict[str, Any]:
    """Stdout is exactly one JSON object."""
    assert len(out.strip().splitlines()) == 1
    value = json.loads(out)
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_keeps_the_contract(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = import_module(COMMANDS[name])
    assert name == module.NAME
    assert cli.help_text(name) == module.HELP
    assert module.EXAMPLE.startswith(f"python -m liveedit {name}")
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    assert module.EXAMPLE in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert all(f" {name} " in out or f" {name}\n" in out for name in COMMANDS)


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["ask"], ["ask", "a", "b", "c"], ["edits"], ["edit", "a", "b", "c"],
                                  ["attribute", "a", "b", "--method", "guess"], ["pretrain", "--out", "x", "--steps", "ten"]])  # fmt: skip
def test_wrong_usage_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "usage:" in seen.err


def test_ask_with_and_without_edits(call: Call, image: Path, edits: Path) -> None:
    code, out, _ = call("ask", image, "What is it?", "--max-new-tokens", 4, "--json")
    plain = one_object(out)
    assert code == 0
    assert plain["answer"] == plain["base"]
    assert plain["trace"]["routed"] is False
    edited = one_object(call("ask", image, "What is it?", "--edits", edits, "--max-new-tokens", 4, "--json")[1])
    assert edited["base"] == plain["base"]
    assert edited["answer"] != plain["base"]
    assert [row["passed"] for row in edited["trace"]["experts"]] == [True, True]
    text = call("ask", image, "What is it?", "--edits", edits, "--max-new-tokens", 4)[1]
    assert "edit 1 (weight" in text
    assert "What is it? -> teapot" in text


def test_ask_without_a_picture(call: Call, edits: Path) -> None:
    value = one_object(
        call("ask", "What is the capital of France?", "--edits", edits, "--max-new-tokens", 3, "--json")[1]
    )
    assert value["image"] is None
    assert value["answer"] == value["base"]
    assert "no picture" in value["trace"]["reason"]


def test_edit_creates_then_extends_the_file_and_says_whether_it_took(call: Call, image: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    first = one_object(call("edit", image, "What?", "teapot", "--edits", path, "--json")[1])
    assert first["edits"] == 1
    assert first["took"] is (first["answer"].lower().rstrip(".") == "teapot")
    second = one_object(call("edit", image, "Where?", "Lisbon", "--edits", path, "--json")[1])
    assert second["edits"] == 2
    assert [row["expert_id"] for row in second["trace"]["experts"]] == [first["id"], second["id"]]
    out = call("edit", image, "Why?", "because", "--edits", path)[1]
    assert "take" in out or "took" in out


def test_an_edit_of_the_same_question_is_switched_off(call: Call, image: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    call("edit", image, "What?", "teapot", "--edits", path)
    call("edit", image, "Where?", "Lisbon", "--edits", path)
    again = one_object(call("edit", image, " what? ", "kettle", "--edits", path, "--json")[1])
    assert again["switched_off"] == [1]
    assert [row["active"] for row in again["trace"]["experts"]] == [False, True, True]
    assert "switched off, since the new edit asks the same of the same picture: 1, 3" in call(
        "edit", image, "What?", "bowl", "--edits", path
    )[1]


def test_edits_can_be_listed_switched_and_removed(call: Call, edits: Path) -> None:
    rows = one_object(call("edits", "list", "--edits", edits, "--json")[1])["edits"]
    assert [(r["number"], r["prompt"], r["answer"], r["active"]) for r in rows] == [
        (1, "What is it?", "teapot", True),
        (2, "How many?", "seven", True),
    ]
    off = one_object(call("edits", "off", 2, "--edits", edits, "--json")[1])
    assert off["changed"] == [rows[1]["id"]]
    assert [r["active"] for r in off["edits"]] == [True, False]
    assert [
        r["active"] for r in one_object(call("edits", "on", rows[1]["id"], "--edits", edits, "--json")[1])["edits"]
    ] == [True] * 2
    assert "off" in call("edits", "off", "all", "--edits", edits)[1]
    left = one_object(call("edits", "remove", 1, "--edits", edits, "--json")[1])["edits"]
    assert [r["id"] for r in left] == [rows[1]["id"]]
    assert "no edits" in call("edits", "remove", "all", "--edits", edits)[1]


def test_an_unknown_edit_changes_nothing(call: Call, edits: Path) -> None:
    before = edits.read_bytes()
    code, out, err = call("edits", "remove", 1, 7, "--edits", edits)
    assert "there is no edit '7'" in sentence(code, err)
    assert out == ""
    assert edits.read_bytes() == before


def test_export_and_import(call: Call, edits: Path, tmp_path: Path) -> None:
    call("edits", "off", 2, "--edits", edits)
    folder, copy = tmp_path / "out", tmp_path / "copy.safetensors"
    assert call("edits", "export", folder, "--edits", edits)[0] == 0
    assert sorted(p.name for p in folder.iterdir()) == ["edit-0001.png", "edit-0002.png", "edits.json"]
    assert "already holds" in sentence(*call("edits", "export", folder, "--edits", edits)[::2])
    made = one_object(call("edits", "import", folder, "--edits", copy, "--json")[1])
    assert [(r["answer"], r["active"]) for r in made["edits"]] == [("teapot", True), ("seven", False)]
    merged = one_object(call("edits", "import", edits, "--edits", copy, "--json")[1])
    assert len(merged["added"]) == 2
    assert len(merged["edits"]) == 4
    assert one_object(call("edits", "import", edits, "--edits", copy, "--json")[1])["added"] == []


@pytest.mark.parametrize("content", ["", "[1]", '[{"image": "x.png"}]', '{"a": 1}', "null"])
def test_import_refuses_damaged_folders(content: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "edits.json").write_text(content)
    code, _, err = call("edits", "import", tmp_path / "in", "--edits", tmp_path / "e.safetensors")
    assert "edits.json" in sentence(code, err)
    assert not (tmp_path / "e.safetensors").exists()


@pytest.mark.parametrize(("method", "side"), [("tokens", 8), ("occlusion", 10)])
def test_attribute_writes_a_picture_and_numbers(
    method: str, side: int, call: Call, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "heat.png"
    value = one_object(call("attribute", image, "What is it?", "--method", method, "--out", out, "--json")[1])
    assert [len(row) for row in value["heatmap"]] == [side] * side
    assert max(max(row) for row in value["heatmap"]) == 1.0
    assert (value["method"], value["target"], value["region"]) == (method, "feature", [0.0, 0.0, 1.0, 1.0])
    assert value["forwards"] >= 1
    with Image.open(out) as written, Image.open(image) as given:
        assert written.size == given.size
        assert written.tobytes() != given.convert("RGB").tobytes()


def test_attribute_explains_the_margin_of_an_edit_in_a_figure(
    call: Call, image: Path, edits: Path, tmp_path: Path
) -> None:
    given = ("attribute", image, "What is it?", "--edits", edits, "--target", "margin", "--json")
    first = one_object(call(*given, "--expert", 1, "--figure", tmp_path / "why.svg")[1])
    second = one_object(call(*given, "--expert", 2)[1])
    nearest = one_object(call(*given)[1])
    rows = one_object(call("ask", image, "What is it?", "--edits", edits, "--json")[1])["trace"]["experts"]
    assert [first["value"], second["value"]] == pytest.approx([row["margin"] for row in rows], abs=1e-3)
    assert nearest["value"] == max(first["value"], second["value"])
    text = (tmp_path / "why.svg").read_text()
    assert "→ teapot" in text
    assert "→ seven" in text
    assert call("attribute", image, "What?", "--edits", edits, "--figure", tmp_path / "why.pdf")[0] == 0
    assert (tmp_path / "why.pdf").read_bytes().startswith(b"%PDF")


def test_pointing_measures_and_reports(call: Call, tmp_path: Path) -> None:
    given = ("pointing", "--scenes", 2, "--methods", "tokens", "--targets", "feature", "margin", "--out", tmp_path / "run")
    value = one_object(call(*given, "--report", tmp_path / "report", "--json")[1])
    assert [(row["method"], row["target"]) for row in value["results"]] == [("tokens", "feature"), ("tokens", "margin")]
    assert value["results"][0]["forwards"] == 1
    assert (tmp_path / "report" / "pointing.md").read_text() == call(*given)[1].rstrip("\n") + "\n"
    assert sorted(path.name for path in (tmp_path / "run" / "scenes").iterdir()) == ["0000.json", "0001.json"]


def test_bad_input_is_one_sentence(call: Call, image: Path, edits: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.png"
    junk.write_text("no picture")
    before = edits.read_bytes()
    cases = {
        "no picture at": ("ask", tmp_path / "none.png", "What?"),
        "not a readable picture": ("edit", junk, "What?", "cat", "--edits", edits),
        "question is empty": ("ask", image, "  "),
        "new answer is empty": ("edit", image, "What?", " ", "--edits", edits),
        "limit is 32": ("edit", image, "What?", "zq " * 40, "--edits", edits),
        "limit is 256": ("edit", image, "why " * 400, "cat", "--edits", edits),
        "at least 1": ("ask", image, "What?", "--max-new-tokens", 0),
        "no file of edits": ("ask", image, "What?", "--edits", tmp_path / "none.safetensors"),
        "not a readable file of edits": ("edits", "list", "--edits", junk),
        "no folder": ("edit", image, "What?", "cat", "--edits", tmp_path / "no" / "e.safetensors"),
        "question is empty: type": ("attribute", image, ""),
        "cannot be used": ("attribute", image, "What?", "--out", tmp_path / "no" / "h.png"),
        "ends in .png, .svg or .pdf": ("attribute", image, "What?", "--figure", tmp_path / "h.gif"),
        "a file of them with --edits": ("attribute", image, "What?", "--figure", tmp_path / "h.png"),
        "margin belongs to an edit": ("attribute", image, "What?", "--target", "margin"),
        "belongs to --target margin": ("attribute", image, "What?", "--edits", edits, "--expert", 1),
        "knows no answers": ("attribute", image, "What?", "--edits", edits, "--target", "edited"),
    }
    for words, argv in cases.items():
        code, out, err = call(*argv)
        assert words in sentence(code, err), argv
        assert out == ""
    assert edits.read_bytes() == before


def test_missing_models_are_one_sentence(
    image: Path, models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["ask", str(image), "What?", "--backbone", str(tmp_path / "none")])
    assert "there is no backbone" in sentence(code, capsys.readouterr().err)
    code = main(["ask", str(image), "What?", *models[:2], "--editor", str(tmp_path / "none")])
    assert "there is no editor" in sentence(code, capsys.readouterr().err)
    code = main(["edits", "list", "--edits", "x", "--editor", str(tmp_path / "none")])
    assert "there is no editor" in sentence(code, capsys.readouterr().err)


@pytest.mark.parametrize(
    "argv",
    [
        ["pretrain", "--out", "OUT", "--steps", "-1"],
        ["pretrain", "--out", "OUT", "--width", "100"],
        ["pretrain", "--out", "OUT", "--log-every", "0"],
        ["train", "--out", "OUT", "--save-every", "0"],
        ["train", "--out", "OUT", "--generator-signal", "words"],
        ["train", "--out", "OUT", "--batch", "1"],
        ["train", "--out", "OUT", "--accumulation", "0"],
        ["train", "--out", "OUT", "--mixed-precision", "fp8"],
        ["train", "--out", "OUT", "--mixed-precision", "fp16", "--device", "cpu"],
        ["train", "--out", "OUT", "--device", "warp-drive"],
        ["train", "--out", "OUT", "--export", "worst"],
        ["train", "--out", "OUT", "--patience", "2"],
        ["train", "--out", "OUT", "--routing-cases", "3"],
        ["train", "--out", "OUT", "--solo-steps", "0", "--routing-steps", "0", "--steps", "0"],
        ["train", "--out", "OUT", "--backbone", "OUT/none"],
        ["pretrain", "--out", "OUT", "--annotations", "OUT/none.json"],
    ],
)
def test_impossible_trainings_are_one_sentence(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([a.replace("OUT", str(tmp_path)) for a in argv])
    sentence(code, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "e.safetensors"), 2, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "e.safetensors"), 2, "Permission denied"),
        (RuntimeError("PytorchStreamWriter failed writing file"), 2, "free some space"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_goes_wrong_has_an_exit_code(
    error: BaseException, code: int, words: str, call: Call, edits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("liveedit.cli.options.load_edits", fail)
    got, out, err = call("edits", "list", "--edits", edits)
    assert (got, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_our_own_mistakes_are_not_hidden(call: Call, edits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("liveedit.cli.options.load_edits", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        call("edits", "list", "--edits", edits)


def test_sentences_of_file_errors_name_the_file() -> None:
    assert "a.txt" in sentence_of(FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"))
    assert cli._one_line("two\nlines") == "two lines"


def test_python_dash_m_works_in_a_process_of_its_own(edits: Path, models: list[str]) -> None:
    command = [sys.executable, "-m", "liveedit", "edits", "list", "--edits", str(edits), *models]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    # Refused before any model is touched.
    command[-3] = "no-such-editor"
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "no-such-editor" in sentence(refused.returncode, refused.stderr)


def test_switches_of_training_have_a_yes_and_a_no() -> None:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    for words, wanted in (
        ([], (True, True, False)),
        (["--no-absolute-loss", "--layer-twice"], (False, True, True)),
        (["--no-relative-loss", "--no-layer-twice"], (True, False, False)),
    ):
        config = options.config_from(parser.parse_args(["--out", "x", *words]), EditorTrainingConfig)
        assert (config.absolute_loss, config.relative_loss, config.layer_twice) == wanted
