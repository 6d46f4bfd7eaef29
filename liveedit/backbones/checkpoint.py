"""What a checkpoint says before its weights are read: its configuration, its parameters' names, its fingerprint.

An editor fits the weights it was trained on, however they are loaded. The fingerprint of a backbone in bfloat16, in
8 bits or spread over devices is therefore taken from the checkpoint's files, and is that of its float32 form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText, PreTrainedConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.utils import cached_file

from liveedit.backbones.base import tensors_digest
from liveedit.backbones.checks import KINDS, check_config
from liveedit.types import BackboneError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_config(name: str | Path) -> Any:
    """The configuration of a folder, a ``config.json`` or a hub id; no weights are looked at.

    Raises :class:`BackboneError` when there is none, when the hub does not show it to whoever asks, when the model's
    type is none of transformers' own (code that lies beside a model is never run), or when the model is not a
    decoder-only vision-language model that marks its picture with placeholder tokens.
    """
    path = Path(name)
    local = path.exists()
    if not local and (path.is_absolute() or str(name).startswith((".", "checkpoints")) or path.suffix == ".json"):
        raise BackboneError(
            f"there is no backbone at {name}: check the path, or train one with `python -m liveedit pretrain`"
        )
    try:
        config = AutoConfig.from_pretrained(str(name), local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise BackboneError(_why_no_config(str(name), local, error)) from error
    check_config(config, str(name))
    return config


def _why_no_config(name: str, local: bool, error: Exception) -> str:
    """What is wrong with a configuration that could not be had or read, and what to do."""
    cause = error.__cause__
    if isinstance(cause, RepositoryNotFoundError) or (
        isinstance(cause, HfHubHTTPError) and cause.response.status_code in (401, 403)
    ):
        return (
            f"there is no folder {name}, and no hub repository of that name is open to you: check the name, or ask for "
            "access on the repository's page and log in with `hf auth login`"
        )
    if isinstance(cause, (LocalEntryNotFoundError, HFValidationError)) and not local:
        return (
            f"there is no folder {name}, and no model of that name is cached: check the path, or allow downloads "
            "(HF_HUB_OFFLINE=0 and a network)"
        )
    if isinstance(error, (ValueError, KeyError)) and (unknown := _unknown_type(name, local)):
        return f"the model type {unknown} of {name} is not supported: choose {KINDS}"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":")
    return f"the backbone {name} cannot be loaded ({reason}): its configuration is missing or damaged"


def _unknown_type(name: str, local: bool) -> str | None:
    """The first model type in a configuration that transformers has no class of its own for."""
    values, _ = PreTrainedConfig.get_config_dict(name, local_files_only=local)
    if not isinstance(values, dict):
        return None
    # A model of code of its own need not name a type.
    kinds = [values.get("model_type") or ("custom" if "auto_map" in values else None)]
    kinds += [part.get("model_type") for part in values.values() if isinstance(part, dict)]
    return next((str(kind) for kind in kinds if kind and kind not in CONFIG_MAPPING), None)


def skeleton(config: Any) -> Any:
    """The model of a configuration on the meta device: names and shapes without any memory."""
    with init_empty_weights(include_buffers=True):
        return AutoModelForImageTextToText.from_config(config)


def checkpoint_fingerprint(name: str | Path, config: Any, loaded: Mapping[str, torch.Tensor]) -> str:
    """The fingerprint that the checkpoint has when it is loaded in float32, from its safetensors files.

    ``loaded`` is the state of the model as it was loaded; of it only what the files do not hold is looked at,
    such as buffers that are computed.
    """
    model = skeleton(config)
    return f"{config.model_type}-{tensors_digest(_Stored(model, _files(name), loaded))}"


def stored_fingerprint(name: str | Path, config: Any) -> str | None:
    """The fingerprint that a backbone of configuration ``config`` will have, told before it is loaded.

    None where its safetensors files cannot tell: they are not here (nothing is downloaded) or cannot be read, hold
    quantized weights, lack some that are computed, or hold some in parts that loading puts together.
    """
    if getattr(config, "quantization_config", None) is not None:
        return None
    try:
        stored = _Stored(skeleton(config), _files(name), {})
        return None if stored.in_parts else f"{config.model_type}-{tensors_digest(stored)}"
    except (BackboneError, OSError, ValueError, KeyError, SafetensorError):
        return None


def stored_tensors(name: str | Path, config: Any, prefixes: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint whose names in the model begin so; the rest of it is not read."""
    stored = _Stored(skeleton(config), _files(name, fetch=True), {})
    wanted = [tensor for tensor in stored if tensor.startswith(prefixes)]
    missing = [tensor for tensor in wanted if tensor not in stored.where]
    if missing:
        raise BackboneError(f"the backbone {name} lacks the tensor {missing[0]}: restore the checkpoint")
    return {tensor: stored[tensor] for tensor in wanted}


def _files(name: str | Path, fetch: bool = False) -> list[Path]:
    """The safetensors files of a local folder or a hub id: cached ones, or with ``fetch`` downloaded if need be."""
    options: dict[str, Any] = {"local_files_only": not fetch, "_raise_exceptions_for_missing_entries": False}
    index = cached_file(str(name), INDEX, **options)
    shards = [WEIGHTS] if index is None else sorted(set(json.loads(Path(index).read_text())["weight_map"].values()))
    found = [cached_file(str(name), shard, **options) for shard in shards]
    missing = [shard for shard, path in zip(shards, found, strict=True) if path is None]
    if missing:
        raise BackboneError(f"the backbone {name} lacks its file {missing[0]}: restore the checkpoint")
    return [Path(path) for path in found if path is not None]


class _Stored(Mapping[str, torch.Tensor]):
    """A checkpoint's tensors by the names the model gives them, each read when it is looked at.

    ``in_parts`` says whether loading makes some of the model's tensors out of others than are stored.
    """

    def __init__(self, model: Any, files: list[Path], loaded: Mapping[str, torch.Tensor]) -> None:
        self.names, self.loaded = model.state_dict(), loaded
        self.tied = {k: v for pair in model.all_tied_weights_keys.items() for k, v in (pair, pair[::-1])}
        mapping = get_model_conversion_mapping(model)
        renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
        converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
        self.where: dict[str, tuple[Path, str]] = {}
        self.in_parts = False
        for file in files:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118 - the opened file is no mapping
                    name, converted = rename_source_key(key, renamings, converters, model.base_model_prefix, self.names)
                    self.in_parts |= converted is not None
                    self.where[name if name in self.names else key] = (file, key)

    def __getitem__(self, name: str) -> torch.Tensor:
        place = self.where.get(name) or self.where.get(self.tied.get(name, ""))
        if place is None:
            return self.loaded[name]
        with safe_open(place[0], "pt") as opened:
            return opened.get_tensor(place[1])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
