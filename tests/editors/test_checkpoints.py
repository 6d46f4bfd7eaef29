"""Saving and loading an editor: nothing changes, and what does not fit is refused with a sentence."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file

from liveedit.backbones import Backbone, load_backbone
from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import BackboneError, EditorError, LiveEditError, Query

QUESTION = "What is in the picture?"


@pytest.fixture
def saved(open_editor: LiveEdit, tmp_path: Path) -> Path:
    open_editor.save_pretrained(tmp_path / "editor")
    return tmp_path / "editor"


def test_a_saved_editor_answers_the_same(
    saved: Path, open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    again = LiveEdit.from_pretrained(saved, open_editor.backbone)
    assert again.config == open_editor.config
    theirs = again.modules.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in open_editor.modules.state_dict().items())
    query = Query(pictures[7], QUESTION)
    assert again.answer(open_repository, query, max_new_tokens=4) == open_editor.answer(
        open_repository, query, max_new_tokens=4
    )


def test_a_backbone_loaded_twice_has_the_same_fingerprint(
    lively_backbone_folder: Path, lively_backbone: Backbone, tiny_backbone: Backbone
) -> None:
    assert load_backbone(lively_backbone_folder, "cpu").fingerprint == lively_backbone.fingerprint
    assert tiny_backbone.fingerprint != lively_backbone.fingerprint


def test_an_editor_of_another_backbone_is_refused(saved: Path, tiny_backbone: Backbone) -> None:
    with pytest.raises(EditorError, match="was trained for backbone"):
        LiveEdit.from_pretrained(saved, tiny_backbone)


def truncate(folder: Path) -> None:
    path = folder / "editor.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **changes}))


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "editor.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, folder / "editor.safetensors")


DAMAGE = {
    "weights missing": lambda f: (f / "editor.safetensors").unlink(),
    "configuration missing": lambda f: (f / "config.json").unlink(),
    "weights truncated": truncate,
    "weights are text": lambda f: (f / "editor.safetensors").write_text("hello"),
    "configuration truncated": lambda f: (f / "config.json").write_text('{"rank": 4'),
    "configuration is a list": lambda f: (f / "config.json").write_text("[1, 2]"),
    "configuration is a number": lambda f: (f / "config.json").write_text("7"),
    "unknown key": lambda f: rewrite(f, colour="red"),
    "other rank": lambda f: rewrite(f, rank=7),
    "wrong type": lambda f: rewrite(f, rank="four"),
    "a tensor is missing": drop_tensor,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_editor_is_refused_with_a_sentence(kind: str, saved: Path, lively_backbone: Backbone) -> None:
    DAMAGE[kind](saved)
    with pytest.raises(LiveEditError) as caught:
        LiveEdit.from_pretrained(saved, lively_backbone)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value), "the sentence must say which file is meant"


def test_an_editor_of_other_sizes_is_refused(open_editor: LiveEdit, lively_backbone: Backbone) -> None:
    with pytest.raises(EditorError, match="width"):
        LiveEdit(lively_backbone, replace(open_editor.config, hidden_size=128))
    with pytest.raises(EditorError, match="layer 3 is outside"):
        LiveEdit(lively_backbone, replace(open_editor.config, layer=3))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_while_saving_is_a_sentence(open_editor: LiveEdit, tmp_path: Path) -> None:
    (tmp_path / "editor").mkdir()
    (tmp_path / "editor" / "config.json").symlink_to("/dev/full")
    with pytest.raises(EditorError, match="could not be saved"):
        open_editor.save_pretrained(tmp_path / "editor")


def test_saving_where_a_file_stands_is_a_sentence(open_editor: LiveEdit, tmp_path: Path) -> None:
    (tmp_path / "editor").write_text("I am a file")
    with pytest.raises(EditorError, match="could not be saved"):
        open_editor.save_pretrained(tmp_path / "editor")


def test_a_missing_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="there is no backbone"):
        load_backbone(tmp_path / "none", "cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_backbone_is_refused_with_a_sentence(name: str, lively_backbone_folder: Path, tmp_path: Path) -> None:
    for path in lively_backbone_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackboneError) as caught:
        load_backbone(tmp_path, "cpu")
    assert "\n" not in str(caught.value)


def test_an_impossible_device_is_refused(lively_backbone_folder: Path) -> None:
    with pytest.raises(BackboneError, match="device"):
        load_backbone(lively_backbone_folder, "warp-drive")
