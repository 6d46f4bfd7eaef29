"""A baseline editor on disk: ``config.json`` (with the editor's name) and ``editor.safetensors``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from liveedit.backbones import Backbone, tensors_digest
from liveedit.config import from_mapping
from liveedit.configs import fitting_preset, preset
from liveedit.types import ConfigError, EditorError

CONFIG, WEIGHTS, NAME = "config.json", "editor.safetensors", "editor"
T = TypeVar("T")


def save_folder(path: str | Path, name: str, config: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the editor ``name``: its configuration and what it has learned.

    A matrix whose numbers are all bfloat16 ones takes half the space.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({n: _stored(t.detach()).contiguous().cpu() for n, t in tensors.items()}, folder / WEIGHTS)
        text = json.dumps({NAME: name, **asdict(config)}, indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise EditorError(
            f"the editor could not be saved to {folder} ({error}): free some space or choose another place"
        ) from error


def load_folder(path: str | Path, name: str, cls: type[T], backbone: Backbone) -> tuple[T, dict[str, torch.Tensor]]:
    """Configuration and tensors of the editor ``name``; one for another backbone, or a damaged one, is refused.

    ``cls`` has a field ``backbone``, the fingerprint of the backbone that the editor was trained for.
    """
    config = folder_config(path, name, cls)
    trained_for = str(vars(config)["backbone"])
    if trained_for != backbone.fingerprint:
        raise EditorError(
            f"the editor at {path} was trained for backbone {trained_for}, this one is "
            f"{backbone.fingerprint}: load the backbone it was trained for"
        )
    try:
        stored = load_file(Path(path) / WEIGHTS)
        return config, {n: t.float() if t.dtype == torch.bfloat16 else t for n, t in stored.items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path, error) from error


def round_matrices(module: nn.Module) -> None:
    """Round a module's matrices to numbers that bfloat16 has; vectors and numbers stay as they are."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim > 1:
                weight.copy_(weight.to(torch.bfloat16))


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, in bfloat16 if that is the same."""
    if tensor.dtype != torch.float32 or tensor.ndim < 2:
        return tensor
    short = tensor.to(torch.bfloat16)
    return short if torch.equal(short.float(), tensor) else tensor


def folder_config(path: str | Path, name: str, cls: type[T]) -> T:
    """The configuration of the trained editor ``name`` in a folder; one that is not whole, or another's, is refused."""
    folder = Path(path)
    if not str(path) or not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        where = f"at {folder}" if str(path) else "given"
        raise EditorError(
            f"there is no trained {name} {where}: check the path, or train one with "
            f"`python -m liveedit train --editor {name}`"
        )
    return read_config(folder / CONFIG, name, cls)


def damaged(path: str | Path, error: Exception) -> EditorError:
    """The error of an editor whose tensors cannot be read, or are not those that its configuration asks for."""
    return EditorError(f"the editor at {path} is damaged ({str(error).splitlines()[0]}): restore it or train it again")


def read_config(path: Path, name: str, cls: type[T]) -> T:
    """The configuration of the editor ``name`` in a JSON file; an unknown key or another editor's is refused."""
    values = _values(path)
    found = values.pop(NAME, name)
    if found != name:
        raise EditorError(f"{path} is the configuration of the editor {found}, not of {name}: choose another path")
    return from_mapping(cls, values, f"configuration {path}")


def configured(path: str | Path, name: str, presets: Mapping[str, T], width: int) -> T:
    """The configuration of an editor that is not trained, for a backbone of this width.

    ``path`` is empty (the preset that fits the width), a preset's name, a JSON file, or a folder with one.
    """
    fitting = preset(presets, fitting_preset(width))
    if not str(path):
        return fitting
    if str(path) in presets:
        return presets[str(path)]
    file = Path(path) / CONFIG if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ConfigError(
            f"{path} is neither a preset of {name} ({', '.join(presets)}) nor a configuration file: choose one of them"
        )
    return read_config(file, name, type(fitting))


def editor_of(path: str | Path) -> str:
    """The name of the editor that a folder holds; LiveEdit's own folders do not name it."""
    file = Path(path) / CONFIG
    return str(_values(file).get(NAME, "liveedit")) if file.is_file() else "liveedit"


def fingerprint_of(name: str, config: Any, tensors: Mapping[str, torch.Tensor] | None = None) -> str:
    """A short name of an editor's configuration and trained weights."""
    text = json.dumps(asdict(config), sort_keys=True) + (tensors_digest(tensors) if tensors else "")
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration {path} cannot be read ({error}): check the path and the file") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the configuration {path} is not a JSON object")
    return values
