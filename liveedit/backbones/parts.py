"""The parts of a backbone that editors change: feed-forward networks, and the bridge from vision to language.

Found by structure and by the names that transformers' architectures use, so that no editor knows a layer's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from liveedit.backbones.base import Backbone
from liveedit.types import BackboneError

# A Q-Former is the bridge where there is one; what follows it is only its exit.
BRIDGES = ("qformer", "multi_modal_projector", "connector", "mm_projector", "merger", "perceiver_resampler")
TOWERS = ("vision_tower", "vision_model", "visual", "vision_embed_tokens")
NETWORKS = ("mlp", "feed_forward", "ffn")
# Bridges whose tokens are learned queries: each looks all over the picture.
QUERYING = ("qformer", "perceiver_resampler")


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward network of a decoder layer, y = down(act(up(x))) or gated, y = down(act(gate(x)) * up(x)).

    ``inputs`` are the linear maps that read x [.., d], the activated one first; ``down`` writes y [.., d];
    ``activation`` is the nonlinearity; ``whole`` is the module from x to y, or None where the layer itself calls
    the maps (OPT).
    """

    inputs: tuple[nn.Linear, ...]
    down: nn.Linear
    activation: nn.Module
    whole: nn.Module | None


def feed_forward(backbone: Backbone, layer: int) -> FeedForward:
    """The feed-forward network of decoder layer ``layer``, counted from 0."""
    if not 0 <= layer < len(backbone.layers):
        raise BackboneError(
            f"layer {layer} is outside the backbone's {len(backbone.layers)} decoder layers: "
            f"choose 0 to {len(backbone.layers) - 1}"
        )
    block = backbone.layers[layer]
    whole = next((getattr(block, name) for name in NETWORKS if isinstance(getattr(block, name, None), nn.Module)), None)
    home = block if whole is None else whole
    linear = {name: child for name, child in home.named_children() if isinstance(child, nn.Linear)}
    width = backbone.hidden_size
    down = next((m for m in reversed(linear.values()) if m.out_features == width and m.in_features != width), None)
    inputs = [m for m in linear.values() if m.in_features == width and m is not down]
    # The activated map is called gate where there are two.
    inputs.sort(key=lambda m: not any(child is m and "gate" in name for name, child in linear.items()))
    activation = next(
        (m for name, m in home.named_children() if "act" in name and not isinstance(m, nn.Linear)), None
    ) or getattr(home, "act_fn", getattr(home, "activation_fn", None))
    if down is None or not inputs or activation is None:
        raise BackboneError(
            f"the feed-forward network of {type(block).__name__} is of a kind that this editor cannot change: "
            "choose another editor or backbone"
        )
    return FeedForward(tuple(inputs), down, activation, whole)


def bridge(backbone: Backbone) -> nn.Module:
    """The module that turns what the vision tower sees into language tokens: a Q-Former or a projector."""
    return _named(backbone.model, BRIDGES, "projector or Q-Former")


def vision_tower(backbone: Backbone) -> nn.Module:
    """The module that reads pixels and feeds the bridge."""
    return _named(backbone.model, TOWERS, "vision tower")


def vision_modules(backbone: Backbone) -> list[nn.Module]:
    """What turns pixels into language tokens, the outermost modules: the tower, and the bridge where it stands outside."""
    tower, crossing = vision_tower(backbone), bridge(backbone)
    return [tower] if any(module is crossing for module in tower.modules()) else [tower, crossing]


def reads_by_queries(backbone: Backbone) -> bool:
    """Whether the visual tokens are those of queries, so that none has a place in the picture."""
    return any(name.rsplit(".", 1)[-1] in QUERYING for name, _ in backbone.model.named_modules())


def _named(model: Any, names: tuple[str, ...], what: str) -> nn.Module:
    """The outermost module of the first of ``names`` that the model has."""
    for wanted in names:
        found = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] == wanted]
        if found:
            return found[0]
    raise BackboneError(f"{type(model).__name__} has no {what} that could be found: choose another editor or backbone")
