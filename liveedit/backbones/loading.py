"""``load_backbone``: a local folder or a hub id to a frozen :class:`Backbone`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from liveedit.backbones.base import Backbone, fingerprint
from liveedit.backbones.checkpoint import checkpoint_fingerprint, read_config
from liveedit.backbones.memory import pick_device, placement
from liveedit.backbones.processors import load_processor
from liveedit.types import BackboneError


def load_backbone(
    name: str | Path,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    quantize: str | None = None,
) -> Backbone:
    """Load a backbone from a folder or a hub id.

    ``dtype`` is float32 (default; bfloat16 with ``quantize``), bfloat16 or float16; ``device_map`` lets accelerate
    spread the model over GPUs, the CPU and the disk ("auto", "balanced", "balanced_low_0", "sequential", or a mapping of
    module names to devices); ``quantize`` is "8bit" or "4bit" and needs bitsandbytes. None of them changes the
    fingerprint, so an editor fits a backbone however it is loaded.

    Raises :class:`BackboneError` when the folder or its files are missing or damaged, when the model is not a
    decoder-only vision-language model that marks its picture with placeholder tokens, or when the options do not fit.
    """
    options = placement(device, dtype, device_map, quantize)
    where = None if "device_map" in options else pick_device(device)
    config = read_config(name)
    local = Path(name).exists()
    try:
        processor = load_processor(name, config, local)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            name, config=config, local_files_only=local, use_safetensors=True, **options
        )
        model = model.eval() if where is None else model.eval().to(where)
        # Of float32 weights this is the same, and needs no second look at the files.
        plain = options["dtype"] is torch.float32 and where is not None
        known = fingerprint(model) if plain else checkpoint_fingerprint(name, config, model.state_dict())
    except BackboneError:
        raise
    except ImportError as error:
        raise BackboneError(f"the backbone {name} cannot be loaded so ({_first_line(error)}): install it") from error
    except (OSError, ValueError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        if not local:
            raise BackboneError(
                f"of {name} only the configuration could be had ({_first_line(error)}): its weights, in safetensors, and "
                "its processor have to be in the cache, or downloads allowed (HF_HUB_OFFLINE=0 and a network)"
            ) from error
        raise BackboneError(
            f"the backbone {name} cannot be loaded ({_first_line(error)}): the checkpoint is missing or damaged"
        ) from error
    except Exception as error:  # safetensors raises its own type, which has no common base with the above
        raise BackboneError(
            f"the backbone {name} cannot be loaded ({error}): the checkpoint is damaged, restore it"
        ) from error
    return Backbone(model, processor, str(name), known)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
