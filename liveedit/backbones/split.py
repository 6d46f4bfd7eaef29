"""A forward pass in two halves: below and including layer l_e without gradients, above it as often as needed.

Training runs the frozen lower layers once per row and the vision tower once per distinct picture, and the upper
layers on edited states. The upper layers are called with exactly the arguments that the model itself gives to layers
of their kind, so no architecture's masks or positions are rebuilt here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from liveedit.backbones.base import Backbone
from liveedit.backbones.batch import EncodedBatch, PictureInputs
from liveedit.backbones.checks import layer_refusal
from liveedit.backbones.parts import reads_by_queries
from liveedit.hooks import capture_calls
from liveedit.types import BackboneError


@dataclass
class LowerStates:
    """Layer-l_e states [R, T, d], and the keyword arguments with which layers of each kind are called."""

    hidden: torch.Tensor
    arguments: dict[str, dict[str, Any]]


class SplitForward:
    """The two halves around decoder layer ``layer``."""

    def __init__(self, backbone: Backbone, layer: int) -> None:
        decoder = backbone.decoder
        norm = getattr(decoder, "norm", None) or getattr(decoder, "final_layer_norm", None)
        if norm is None or "mm_encoder_outputs" not in backbone.accepted:
            raise BackboneError(
                f"{type(backbone.model).__name__} has no final norm, or does not take the states of its vision tower: "
                "its editor cannot be trained"
            )
        if refusal := layer_refusal(backbone.config, layer):
            raise BackboneError(refusal)
        self.backbone, self.layer, self.count = backbone, layer, len(backbone.layers)
        # Small OPT models project their states behind the final norm.
        self.tail: list[nn.Module] = [m for m in (norm, getattr(decoder, "project_out", None)) if m is not None]
        # Layers of one kind, such as those with a sliding window, share their arguments.
        self.kinds: list[str] = getattr(backbone.config.get_text_config(), "layer_types", None) or ["layer"] * self.count

    @torch.no_grad()
    def lower(
        self, ids: torch.Tensor, mask: torch.Tensor, pictures: PictureInputs, which: Sequence[int]
    ) -> LowerStates:
        """Run R rows [R, T] up to layer l_e; ``which`` says which of the P pictures each row shows."""
        backbone = self.backbone
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": backbone.positions(ids, mask, pictures, which),
            **backbone.types_of(ids),
        }
        seen = seen_pictures(backbone, ids, pictures, which)
        return self._captured(
            lambda: backbone.model(**inputs, pixel_values=None, mm_encoder_outputs={"image": seen}, use_cache=False)
        )

    @torch.no_grad()
    def known(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, hidden: torch.Tensor
    ) -> LowerStates:
        """R rows [R, T] whose layer-l_e states ``hidden`` are known; ``positions`` are those of the backbone.

        Masks and rotary embeddings depend on none of the states, so the model runs no further than to the first
        layer of each kind that is wanted, and sees no picture.
        """
        first = {kind: self.backbone.layers[self.kinds.index(kind)] for kind in set(self.kinds[self.layer :])}
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **self.backbone.types_of(ids)}
        # Models whose pictures are read by queries insist on one; their language models are called with nothing else.
        queries = reads_by_queries(self.backbone)
        forward = self.backbone.decoder if queries else partial(self.backbone.model, pixel_values=None)
        with capture_calls(list(first.values())) as (calls, run):
            run(lambda: forward(**inputs, use_cache=False))
        return LowerStates(hidden, {kind: call.first()[1] for kind, call in zip(first, calls, strict=True)})

    @torch.no_grad()
    def states(self, batch: EncodedBatch) -> LowerStates:
        """Run the rows of a batch up to layer l_e."""
        return self._captured(lambda: self.backbone.forward(batch, use_cache=False))

    def _captured(self, forward: Callable[[], Any]) -> LowerStates:
        """What a forward pass calls the layers above l_e with; it goes no further than that takes."""
        wanted = {kind: self._nearest(kind) for kind in set(self.kinds[self.layer :])}
        layers = self.backbone.layers
        above = layers[self.layer + 1] if self.layer + 1 < self.count else self.tail[0]
        with capture_calls([above, *(layers[i] for i in wanted.values())]) as (calls, run):
            run(forward)
        arguments = {kind: call.first()[1] for kind, call in zip(wanted, calls[1:], strict=True)}
        return LowerStates(calls[0].first()[0], arguments)

    def _nearest(self, kind: str) -> int:
        """The layer of this kind at which the least of the model has run once l_e has."""
        places = [i for i, other in enumerate(self.kinds) if other == kind]
        return next((i for i in reversed(places) if i <= self.layer + 1), places[0])

    def upper(
        self,
        states: LowerStates,
        hidden: torch.Tensor,
        rows: torch.Tensor | None = None,
        again: bool = False,
        recompute: bool = False,
    ) -> torch.Tensor:
        """Final normed states [R, T, d] from (edited) layer-l_e states; ``rows`` selects some of the R rows.

        ``again`` applies layer l_e to those states once more before the layers above it. ``recompute`` keeps each
        layer's input alone for the backward pass, which then runs the layer a second time.
        """
        count = states.hidden.shape[0]
        arguments = {
            kind: {name: _select(value, rows, count) for name, value in given.items()}
            for kind, given in states.arguments.items()
        }
        for number in range(self.layer if again else self.layer + 1, self.count):
            layer = self.backbone.layers[number]
            run = partial(checkpoint, layer, use_reentrant=False) if recompute else layer
            output = run(hidden, **arguments[self.kinds[number]])
            hidden = output[0] if isinstance(output, tuple) else output
        for module in self.tail:
            hidden = module(hidden)
        return hidden


def seen_pictures(backbone: Backbone, ids: torch.Tensor, pictures: PictureInputs, which: Sequence[int]) -> Any:
    """What the vision tower makes of the distinct pictures, laid out for the rows [R, T] that show them."""
    output = backbone.model.get_image_features(**pictures.values, return_dict=True)
    tokens = (ids == backbone.image_token_id).sum(1).tolist()
    counts = {picture: tokens[row] for row, picture in enumerate(which)}
    sizes = [counts[picture] for picture in range(len(pictures))]
    output.pooler_output = _by_rows(output.pooler_output, sizes, which)
    if getattr(output, "deepstack_features", None) is not None:
        output.deepstack_features = [_by_rows(level, sizes, which) for level in output.deepstack_features]
    return output


def _by_rows(features: Any, sizes: Sequence[int], which: Sequence[int]) -> Any:
    """Image tokens of P pictures, ``sizes`` of them each, once for every row, in the container the model uses."""
    flat = features if torch.is_tensor(features) else torch.cat(list(features))
    pieces = flat.reshape(-1, flat.shape[-1]).split(list(sizes))
    rows = [pieces[picture] for picture in which]
    return torch.cat(rows) if torch.is_tensor(features) else rows


def _select(value: Any, rows: torch.Tensor | None, count: int) -> Any:
    """``rows`` of every tensor that has one entry per row, inside tuples too."""
    if rows is None:
        return value
    if isinstance(value, tuple):
        return tuple(_rotary(v, rows, count) for v in value)
    if torch.is_tensor(value) and value.dim() > 1 and value.shape[0] == count:
        return value[rows]
    return value


def _rotary(value: Any, rows: torch.Tensor, count: int) -> Any:
    """``rows`` of rotary embeddings [R, T, n], or [3, R, T, n] where positions have three dimensions."""
    axis = value.dim() - 3 if torch.is_tensor(value) else -1
    return value.index_select(axis, rows) if axis >= 0 and value.shape[axis] == count else value
