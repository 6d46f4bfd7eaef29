"""Folders and state files of baseline editors: what was saved is read, what does not fit is refused by a sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from liveedit.backbones import Backbone
from liveedit.config import option
from liveedit.editors.folder import configured, editor_of, fingerprint_of, load_folder, round_matrices, save_folder
from liveedit.editors.state_file import load_tensors, save_tensors
from liveedit.types import ConfigError, EditorError, LiveEditError, RepositoryError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Config:
    size: int = option(3, "a size")
    backbone: str = option("", "fingerprint")


PRESETS = {"paper": Config(1), "embedded": Config(2)}


def test_a_saved_editor_is_read_and_misfits_are_refused(
    tiny_backbone: Backbone, lively_backbone: Backbone, tmp_path: Path
) -> None:
    config, weights = Config(5, tiny_backbone.fingerprint), {"w": torch.arange(4.0)}
    save_folder(tmp_path / "one", "toy", config, weights)
    found, tensors = load_folder(tmp_path / "one", "toy", Config, tiny_backbone)
    assert found == config
    assert torch.equal(tensors["w"], weights["w"])
    assert editor_of(tmp_path / "one") == "toy"
    with pytest.raises(EditorError, match="was trained for backbone"):
        load_folder(tmp_path / "one", "toy", Config, lively_backbone)
    with pytest.raises(EditorError, match="of the editor toy, not of other"):
        load_folder(tmp_path / "one", "other", Config, tiny_backbone)
    with pytest.raises(EditorError, match="train --editor toy"):
        load_folder("", "toy", Config, tiny_backbone)
    file = tmp_path / "one" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "colour": "red"}))
    with pytest.raises(ConfigError, match="unknown keys colour"):
        load_folder(tmp_path / "one", "toy", Config, tiny_backbone)
    save_folder(tmp_path / "two", "toy", config, weights)
    whole = (tmp_path / "two" / "editor.safetensors").read_bytes()
    (tmp_path / "two" / "editor.safetensors").write_bytes(whole[:20])
    with pytest.raises(EditorError, match="damaged"):
        load_folder(tmp_path / "two", "toy", Config, tiny_backbone)
    with pytest.raises(EditorError, match="could not be saved"):
        save_folder(file, "toy", config, weights)


def test_what_bfloat16_holds_is_stored_so_and_read_as_it_was(tiny_backbone: Backbone, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(40, 40)
    exact = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    round_matrices(layer)
    assert torch.equal(layer.weight, exact["weight"].bfloat16().float())
    assert torch.equal(layer.bias, exact["bias"])
    for name, tensors, size in (("rounded", layer.state_dict(), 2), ("exact", exact, 4)):
        save_folder(tmp_path / name, "toy", Config(5, tiny_backbone.fingerprint), tensors)
        found = load_folder(tmp_path / name, "toy", Config, tiny_backbone)[1]
        assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in tensors.items())
        file = tmp_path / name / "editor.safetensors"
        assert 1600 * size <= file.stat().st_size < 1600 * size + 600


def test_untrained_editors_take_a_preset_a_file_or_the_one_that_fits(tiny_backbone: Backbone, tmp_path: Path) -> None:
    assert configured("", "toy", PRESETS, tiny_backbone.hidden_size) == PRESETS["embedded"]
    assert configured("paper", "toy", PRESETS, tiny_backbone.hidden_size) == PRESETS["paper"]
    file = tmp_path / "mine.json"
    file.write_text('{"size": 9}')
    assert configured(file, "toy", PRESETS, tiny_backbone.hidden_size) == Config(9)
    with pytest.raises(ConfigError, match="neither a preset of toy"):
        configured("large", "toy", PRESETS, tiny_backbone.hidden_size)
    file.write_text('{"size": "nine"}')
    with pytest.raises(ConfigError, match="must be of type int"):
        configured(file, "toy", PRESETS, tiny_backbone.hidden_size)


def test_fingerprints_tell_editors_apart() -> None:
    weights = {"w": torch.zeros(2)}
    names = {
        fingerprint_of("toy", Config(1)), fingerprint_of("toy", Config(2)), fingerprint_of("other", Config(1)),
        fingerprint_of("toy", Config(1), weights), fingerprint_of("toy", Config(1), {"w": torch.ones(2)}),
    }  # fmt: skip
    assert len(names) == 5
    assert fingerprint_of("toy", Config(1)) in names


def test_a_state_file_is_read_by_its_owner_only(tmp_path: Path) -> None:
    path, tensors = tmp_path / "state", {"delta": torch.randn(2, 3).T}
    save_tensors(path, "toy on A", tensors, {"edits": 2})
    found, notes = load_tensors(path, "toy on A", CPU)
    assert torch.equal(found["delta"], tensors["delta"])
    assert notes == {"edits": 2}
    with pytest.raises(RepositoryError, match="made by toy on A, not by toy on B"):
        load_tensors(path, "toy on B", CPU)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(RepositoryError, match="delete the file"):
        load_tensors(path, "toy on A", CPU)
    with pytest.raises(LiveEditError, match="cannot be written"):
        save_tensors(tmp_path, "toy on A", tensors, {})
