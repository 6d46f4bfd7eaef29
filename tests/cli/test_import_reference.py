"""``import-reference`` from a file of the authors' layout to an editor that edits a real (tiny) backbone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file

from liveedit.backbones import Backbone
from liveedit.cli import main
from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository, load_reference
from liveedit.hooks import capture_calls
from liveedit.types import Edit, EditorError, Query, RepositoryError

Make = Callable[..., dict[str, Any]]
QUESTION = "What is it?"


@pytest.fixture
def checkpoint(released_checkpoint: Make, open_editor: LiveEdit, pictures: list[Image], tmp_path: Path) -> Path:
    """A file whose sentinel is a picture as layer 1 of the lively backbone sees it, so that not everything passes."""
    content = released_checkpoint(d=64, d_m=32, r=3, k=2, n_v=64, seed=4)
    sentinel = open_editor.layer_states([pictures[3]], [QUESTION], template=False)[0].vision
    content["train_modules"]["inpt_extractor"]["vis_rep_prot"] = sentinel[None]
    torch.save(content, tmp_path / "epoch-1-i-3000")
    return tmp_path / "epoch-1-i-3000"


def states_below_the_next_layer(editor: LiveEdit, repository: ExpertRepository | None, query: Query) -> torch.Tensor:
    """What the layer above l_e receives when the answer "seven" is teacher-forced, [T, d]."""
    with capture_calls([editor.backbone.layers[editor.config.layer + 1]]) as ((call,), run):
        run(lambda: editor.predict(repository, [query], ["seven"], template=False))
    return call.first()[0][0]


@torch.no_grad()
def test_an_imported_editor_does_what_the_reference_does(
    checkpoint: Path, lively_backbone_folder: Path, lively_backbone: Backbone, some_edits: list[Edit],
    pictures: list[Image], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "editor"
    given = ["--heads", "4", "--lora-scale", "4", "--layer", "1"]
    code = main(
        [
            "import-reference",
            str(checkpoint),
            "--out",
            str(out),
            *given,
            "--backbone",
            str(lively_backbone_folder),
            "--json",
        ]
    )
    written = json.loads(capsys.readouterr().out)
    assert code == 0
    assert written["out"] == str(out)
    assert written["config"]["backbone"] == lively_backbone.fingerprint
    editor = LiveEdit.from_pretrained(out, lively_backbone)
    reference = load_reference(checkpoint, heads=4, lora_scale=4.0)

    repository = ExpertRepository.empty(editor.config)
    editor.edit(repository, some_edits, template=False)
    experts = []
    for edit, ours in zip(some_edits, repository, strict=True):
        answers = [[*lively_backbone.answer_ids(edit.target), lively_backbone.eos_id]]
        batch = lively_backbone.encode([edit.image], [edit.prompt], answers, template=False)
        hidden = editor.states(batch)[0]
        vision, prompt, answer = (hidden[batch.part(name)[0]] for name in ("vision", "prompt", "answer"))
        # The answer's last token is the stop token, which the generator does not read.
        expert = reference.encode_edit(vision, prompt, answer[:-1])
        for theirs, name in zip(expert, ("phi", "psi", "U", "V"), strict=True):
            assert torch.allclose(getattr(ours, name), theirs, rtol=0, atol=1e-5), name
        experts.append(expert)

    passed = 0
    for picture in pictures[:4]:
        query = Query(picture, QUESTION)
        row = editor.layer_states([picture], [QUESTION], template=False)[0]
        trace = reference.route(row.vision, row.prompt, experts)
        ours = editor.route(repository, [query], template=False)[0]
        assert [e.passed for e in ours.experts] == trace.passed
        for name in ("visual_similarity", "threshold", "margin", "prompt_similarity", "absolute", "relative", "weight"):
            mine = torch.tensor([getattr(e, name) for e in ours.experts])
            assert torch.allclose(mine, getattr(trace, name).expand(6), rtol=0, atol=1e-5), name
        before, after = (states_below_the_next_layer(editor, r, query) for r in (None, repository))
        residual = reference.residual(before, trace, experts)
        assert torch.allclose(after, before + residual, rtol=0, atol=1e-5)
        assert bool(residual.abs().max() > 1e-3) is any(trace.passed)
        passed += sum(trace.passed)
    assert 0 < passed < 4 * len(experts), "some experts must pass and some not"


def test_an_editor_that_does_not_know_its_backbone_takes_the_one_it_meets(
    checkpoint: Path, lively_backbone_folder: Path, lively_backbone: Backbone, tiny_backbone: Backbone,
    pictures: list[Image], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, edits = tmp_path / "editor", tmp_path / "edits.safetensors"
    assert main(["import-reference", str(checkpoint), "--out", str(out), "--layer", "1"]) == 0
    assert "not recorded" in capsys.readouterr().out
    editor = LiveEdit.from_pretrained(out, lively_backbone)
    assert editor.config.backbone == lively_backbone.fingerprint
    assert (editor.config.heads, editor.config.lora_scale) == (8, 5.0)
    # Its edits still belong to one backbone: on the command line, and when another backbone meets the same editor.
    pictures[0].save(tmp_path / "p.png")
    models = ["--backbone", str(lively_backbone_folder), "--editor", str(out), "--device", "cpu"]
    assert main(["edit", str(tmp_path / "p.png"), QUESTION, "seven", "--edits", str(edits), *models]) == 0
    assert main(["edits", "list", "--edits", str(edits), *models]) == 0
    assert len(ExpertRepository.load(edits, editor.config)) == 1
    with pytest.raises(RepositoryError, match="another model"):
        ExpertRepository.load(edits, LiveEdit.from_pretrained(out, tiny_backbone).config)


def test_a_recorded_backbone_is_the_only_one_taken(
    checkpoint: Path, lively_backbone_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    argv = ["import-reference", str(checkpoint), "--out", str(tmp_path / "e"), "--layer", "1"]
    assert main([*argv, "--backbone", str(lively_backbone_folder)]) == 0
    with pytest.raises(EditorError, match="was trained for backbone"):
        LiveEdit.from_pretrained(tmp_path / "e", tiny_backbone)


def test_a_backbone_whose_files_are_here_is_not_loaded_to_be_recorded(
    checkpoint: Path, lively_backbone_folder: Path, lively_backbone: Backbone, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    loaded: list[str] = []

    def load(name: str, _device: str) -> Backbone:
        loaded.append(name)
        return lively_backbone

    monkeypatch.setattr("liveedit.backbones.load_backbone", load)
    argv = ["import-reference", str(checkpoint), "--layer", "1", "--json", "--backbone"]
    assert main([*argv, str(lively_backbone_folder), "--out", str(tmp_path / "whole")]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["backbone"] == lively_backbone.fingerprint
    assert not loaded
    # Files that lack a tensor do not tell; what transformers puts in its place has to be looked at.
    part = shutil.copytree(lively_backbone_folder, tmp_path / "part")
    tensors = load_file(part / "model.safetensors")
    tensors.popitem()
    save_file(tensors, part / "model.safetensors", {"format": "pt"})
    assert main([*argv, str(part), "--out", str(tmp_path / "editor")]) == 0
    assert loaded == [str(part)]


def test_refusals_are_one_sentence_and_write_nothing(
    checkpoint: Path, released_checkpoint: Make, lively_backbone_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    incomplete = released_checkpoint(d=64, d_m=32, r=3, k=2, n_v=16)
    del incomplete["train_modules"]["moegen_c"]["ca_lora.k_mlp.bias"]
    torch.save(incomplete, tmp_path / "incomplete")
    torch.save(released_checkpoint(d=32, d_m=32, r=3, k=2, n_v=16), tmp_path / "narrow")
    backbone = ("--backbone", str(lively_backbone_folder))
    cases = {
        "moegen_c.ca_lora.k_mlp.bias is missing": (tmp_path / "incomplete",),
        "cannot be read (No such file": (tmp_path / "none",),
        "heads is 7": (checkpoint, "--heads", "7"),
        "layer 21 is outside": (checkpoint, *backbone),
        "the editor is for width 32": (tmp_path / "narrow", "--layer", "1", *backbone),
        "there is no backbone": (checkpoint, "--backbone", str(tmp_path / "none")),
    }
    for words, (file, *rest) in cases.items():
        assert main(["import-reference", str(file), "--out", str(out), *rest]) == 2
        seen = capsys.readouterr()
        assert words in seen.err.strip().splitlines()[-1]
        assert "Traceback" not in seen.err
        assert seen.out == ""
        assert not out.exists()
    assert main(["import-reference", str(checkpoint), "--out", str(out)]) == 0
    before = (out / "editor.safetensors").read_bytes()
    assert main(["import-reference", str(checkpoint), "--out", str(out)]) == 2
    assert "already holds an editor" in capsys.readouterr().err
    assert (out / "editor.safetensors").read_bytes() == before
