"""The checkpoint of the authors' released editor (https://arxiv.org/abs/2411.15432), read into this project's modules.

The file is a dict saved by torch: bookkeeping of the training, which is not read, and ``train_modules``, five modules
by name with their state dicts. All sizes are found from the tensors' shapes; the number of heads, the generator's
scale and the edit layer leave no trace there and have to be given.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from liveedit.config import EditorConfig
from liveedit.experts.modules import LiveEditModules
from liveedit.types import EditorError

MODULES = "train_modules"
BOOKKEEPING = ("i", "epoch", "loss", "ema_loss", "opt", "lr_scheduler")

# A shape in symbols: d, d_m, k, r and N_v as in EditorConfig's help texts, and literal sizes.
Shape = tuple[str | int, ...]


def _attention(width: str) -> dict[str, Shape]:
    """An attention of learned queries (d_m) over states (d): three Linear layers with biases, no output projection."""
    inputs = {"q_mlp": "d_m", "k_mlp": "d", "v_mlp": "d"}
    weights: dict[str, Shape] = {f"{name}.weight": (width, size) for name, size in inputs.items()}
    return weights | {f"{name}.bias": (width,) for name in inputs}


_NORM: dict[str, Shape] = {"weight": ("d",), "bias": ("d",)}
_QUERIES: dict[str, Shape] = {"": (1, "k", "d_m")}

# Their name -> our name, and the shape of each tensor below it ("" for the thing itself).
_EXTRACTOR: dict[str, tuple[str, dict[str, Shape]]] = {
    "layer_norm1": ("visual_norm", _NORM),
    "eqe1": ("visual_queries", _QUERIES),
    "ca_query_info_ext1": ("read_prompt", _attention("d_m")),
    "ca_vision_info_ext": ("read_vision", _attention("d_m")),
    "layer_norm2": ("prompt_norm", _NORM),
    "eqe2": ("prompt_queries", _QUERIES),
    "ca_query_info_ext2": ("read_meaning", _attention("d_m")),
}
_GENERATOR: dict[str, tuple[str, dict[str, Shape]]] = {
    "phi": ("queries", {"": (1, "r", "d_m")}),
    "ca_lora": ("attention", _attention("d")),
    "layer_norm": ("layer_norm", _NORM),
}
_PARTS: dict[str, tuple[str, dict[str, tuple[str, dict[str, Shape]]]]] = {
    "edit_extractor": ("edit_features", _EXTRACTOR),
    "inpt_extractor": ("query_features", {**_EXTRACTOR, "vis_rep_prot": ("sentinel", {"": (1, "N_v", "d")})}),
    "moegen_c": ("generator.u", _GENERATOR),
    "moegen_r": ("generator.v", _GENERATOR),
    "instant_reps_norm": ("residual_norm", {"": ("", _NORM)}),
}


def _dotted(*names: str) -> str:
    return ".".join(name for name in names if name)


# Full name in the file -> name in LiveEditModules, and shape.
LAYOUT: dict[str, tuple[str, Shape]] = {
    _dotted(part, thing, leaf): (_dotted(our_part, our_thing, leaf), shape)
    for part, (our_part, things) in _PARTS.items()
    for thing, (our_thing, leaves) in things.items()
    for leaf, shape in leaves.items()
}


def read_reference(
    path: str | Path, heads: int = 8, lora_scale: float = 5.0, layer: int = 21, backbone: str = ""
) -> LiveEditModules:
    """The modules of an authors' checkpoint in float32 on the CPU, with the :class:`EditorConfig` they need.

    ``backbone`` is the fingerprint to record. Raises :class:`EditorError` when the file cannot be unpickled safely, or
    lacks something, holds something unknown, or contradicts itself; :class:`ConfigError` for impossible options.
    """
    tensors = _tensors(Path(path))
    sizes = _sizes(Path(path), tensors)
    config = EditorConfig(
        hidden_size=sizes["d"],
        layer=layer,
        module_dim=sizes["d_m"],
        rank=sizes["r"],
        queries=sizes["k"],
        heads=heads,
        lora_scale=lora_scale,
        sentinel_tokens=sizes["N_v"],
        generator_signal="states",
        visual_feature="plain",
        backbone=backbone,
    )
    modules = LiveEditModules(config)
    modules.load_state_dict({LAYOUT[key][0]: tensor for key, tensor in tensors.items()})
    return modules.eval().requires_grad_(False)


def _refusal(path: Path, what: str) -> EditorError:
    return EditorError(f"{path} cannot be imported, {what}: give a checkpoint of the authors' editor as it was saved")


def _load(path: Path) -> Any:
    """Unpickle tensors and plain values; anything that would run code is refused."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise EditorError(
            f"the checkpoint {path} cannot be read ({error.strerror or error}): check the path and the file"
        ) from error
    except Exception as error:  # a damaged pickle fails with whatever its bytes happen to ask for
        asked = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        why = f"it asks for {asked[1]}" if asked else "it is damaged, or no file of tensors"
        raise _refusal(path, f"it cannot be unpickled safely ({why})") from error


def _mapping(path: Path, name: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise _refusal(path, f"{name} is of type {type(value).__name__}, not a dict")
    return value


def _check_keys(path: Path, found: set[str], expected: set[str], optional: Collection[str] = ()) -> None:
    """Refuse what is missing and what is unknown, by name."""
    for what, names in (("missing", expected - found), ("unknown", found - expected - set(optional))):
        if names:
            first, *rest = sorted(names)
            more = f" (and {len(rest)} more)" if rest else ""
            raise _refusal(path, f"the key {first} is {what}{more}")


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the file by full name: all that belong there and nothing else, none empty, all finite."""
    content = _mapping(path, "its content", _load(path))
    _check_keys(path, {str(key) for key in content}, {MODULES}, BOOKKEEPING)
    parts = _mapping(path, MODULES, content[MODULES])
    _check_keys(path, {str(key) for key in parts}, set(_PARTS))
    values = {f"{part}.{name}": value for part in _PARTS for name, value in _mapping(path, part, parts[part]).items()}
    _check_keys(path, set(values), set(LAYOUT))
    for key, value in values.items():
        plain = isinstance(value, torch.Tensor) and value.layout is torch.strided and value.device.type == "cpu"
        if not plain or not value.is_floating_point():
            raise _refusal(path, f"{key} is not a tensor of real numbers")
        if not value.numel():
            raise _refusal(path, f"{key} is empty")
        if not torch.isfinite(value).all():
            raise _refusal(path, f"{key} holds numbers that are not finite")
    return values


def _sizes(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """d, d_m, k, r and N_v; a tensor that disagrees with the majority is refused by name."""
    votes: dict[str, Counter[int]] = {}
    witness: dict[tuple[str, int], str] = {}
    for key, (_, shape) in LAYOUT.items():
        found = tensors[key].shape
        if len(found) != len(shape) or any(isinstance(s, int) and s != f for s, f in zip(shape, found, strict=True)):
            wanted = ", ".join(map(str, shape))
            raise _refusal(path, f"{key} has shape {list(found)} where [{wanted}] is expected")
        for symbol, size in zip(shape, found, strict=True):
            if isinstance(symbol, str):
                votes.setdefault(symbol, Counter())[size] += 1
                witness.setdefault((symbol, size), key)
    sizes = {symbol: counted.most_common(1)[0][0] for symbol, counted in votes.items()}
    for key, (_, shape) in LAYOUT.items():
        for symbol, size in zip(shape, tensors[key].shape, strict=True):
            if isinstance(symbol, str) and size != sizes[symbol]:
                says = f"{witness[symbol, sizes[symbol]]} says {symbol} = {sizes[symbol]}"
                raise _refusal(path, f"{key} has shape {list(tensors[key].shape)}, but {says}")
    return sizes
