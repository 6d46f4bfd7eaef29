"""Configurations: help for every field, strict JSON, impossible values refused with a sentence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from liveedit.config import (
    EditorConfig,
    EditorTrainingConfig,
    PretrainConfig,
    from_mapping,
    help_of,
    load_json,
    save_json,
)
from liveedit.types import ConfigError

ALL = (EditorConfig, EditorTrainingConfig, PretrainConfig)


@pytest.mark.parametrize("cls", ALL)
def test_every_field_has_a_help_text(cls: type) -> None:
    assert all(len(text) > 5 for text in help_of(cls).values())


@pytest.mark.parametrize("cls", ALL)
def test_save_and_load_give_the_same(cls: type, tmp_path: Path) -> None:
    save_json(cls(), tmp_path / "c.json")
    assert load_json(cls, tmp_path / "c.json") == cls()


def test_a_changed_value_survives_the_round_trip(tmp_path: Path) -> None:
    config = EditorConfig(rank=9, lora_scale=0.5, generator_signal="states+tokens")
    save_json(config, tmp_path / "c.json")
    assert load_json(EditorConfig, tmp_path / "c.json") == config


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown keys colour, size"):
        from_mapping(EditorConfig, {"size": 1, "colour": "red", "rank": 4})


@pytest.mark.parametrize(
    ("name", "value"), [("rank", "4"), ("rank", 4.5), ("rank", True), ("backbone", 3), ("rank", None)]
)
def test_wrong_types_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        from_mapping(EditorConfig, {name: value})


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert from_mapping(EditorConfig, {"lora_scale": 2}).lora_scale == 2


@pytest.mark.parametrize(
    "change",
    [
        {"generator_signal": "words"},
        {"rank": 0},
        {"queries": -1},
        {"layer": -1},
        {"heads": 3},
        {"module_dim": 1028, "heads": 8},
        {"lora_scale": 0.0},
        {"lora_scale": float("nan")},
        {"lora_scale": float("inf")},
    ],
)
def test_impossible_editors_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EditorConfig(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"locality_direction": "sideways"}, {"relative_candidates": "3B"}, {"batch": 1}])
def test_impossible_trainings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EditorTrainingConfig(**change)  # type: ignore[arg-type]


def test_the_record_of_the_shipped_editor_is_still_a_configuration() -> None:
    folder = Path(__file__).parents[1] / "checkpoints" / "emoji-llava-liveedit"
    config = load_json(EditorTrainingConfig, folder / "training.json")
    assert (config.seed, config.warmup, config.rate_drop_after) == (16, 20, 0)


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "\x00\xff"])
def test_files_that_are_no_json_object_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match="configuration"):
        load_json(EditorConfig, path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_json(EditorConfig, tmp_path / "none.json")


def test_configurations_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EditorConfig().rank = 3  # type: ignore[misc]


def test_saved_json_is_readable(tmp_path: Path) -> None:
    save_json(PretrainConfig(), tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["seed"] == 0
