"""Fitting a backbone in memory: its precision, where accelerate places its parts, 8-bit and 4-bit weights.

The editor's own modules stay in float32 whatever the backbone computes in; states are cast where they cross over.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from liveedit.types import BackboneError

AUTO = "auto"
DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
QUANTIZED = ("8bit", "4bit")


def pick_device(device: str) -> torch.device:
    """``auto`` takes a GPU when there is one; an impossible device is refused."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BackboneError(f"the device {device!r} cannot be used here: choose cpu or auto") from error
    return chosen


def pick_dtype(dtype: str | torch.dtype | None, quantize: str | None = None) -> torch.dtype:
    """The type of the backbone's weights by its name; ``auto`` is float32, but bfloat16 beside quantized weights.

    What is not quantized has that type, and quantized weights compute in it: float32 would take back what they save.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype in (None, AUTO):
        return torch.bfloat16 if quantize else torch.float32
    if dtype not in DTYPES:
        raise BackboneError(f"the dtype {dtype!r} is not known: choose {', '.join((AUTO, *DTYPES))}")
    return DTYPES[dtype]


def placement(
    device: str, dtype: str | torch.dtype | None, device_map: str | Mapping[str, Any] | None, quantize: str | None
) -> dict[str, Any]:
    """What ``from_pretrained`` is told about precision and place.

    Raises :class:`BackboneError` for names that are not known, for a ``device`` beside a ``device_map``, and for
    ``quantize`` without bitsandbytes, which is no dependency.
    """
    options: dict[str, Any] = {"dtype": pick_dtype(dtype, quantize)}
    if device_map:
        if isinstance(device_map, str) and device_map not in DEVICE_MAPS:
            raise BackboneError(f"the device map {device_map!r} is not known: choose {', '.join(DEVICE_MAPS)}")
        if device != "auto":
            raise BackboneError(
                f"the device {device!r} and a device map were given: leave the device to the map, or leave the map out"
            )
        options["device_map"] = device_map if isinstance(device_map, str) else dict(device_map)
    elif quantize:
        # Quantized weights cannot be moved afterwards.
        options["device_map"] = {"": pick_device(device)}
    if quantize:
        options["quantization_config"] = _quantization(quantize, options["dtype"])
    return options


def _quantization(quantize: str, dtype: torch.dtype) -> Any:
    """transformers' configuration of bitsandbytes."""
    if quantize not in QUANTIZED:
        raise BackboneError(f"weights of {quantize!r} are not known: choose {' or '.join(QUANTIZED)}")
    if find_spec("bitsandbytes") is None:
        raise BackboneError(
            f"{quantize} weights need the package bitsandbytes, which is not installed: run `pip install bitsandbytes`, "
            "or choose --dtype bfloat16 instead"
        )
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def execution_device(module: nn.Module) -> torch.device:
    """Where ``module`` computes: where its weights lie, or where accelerate fetches them to when it is called."""
    for part in module.modules():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return next(module.parameters()).device
