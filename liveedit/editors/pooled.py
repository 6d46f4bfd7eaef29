"""Comparing questions by the backbone's own states, pooled over the picture's and over the prompt's tokens.

Layer states share a large common part, which hides what differs: each dimension is standardised first. How much
picture and prompt count, and how near is near enough, is learned: three numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from liveedit.backbones import Backbone, EncodedBatch
from liveedit.hooks import stop_after
from liveedit.types import EditorError

PARTS = ("vision", "prompt")
# A step of Adam moves every number alike, and these have further to go than the weights of a network.
GAIN = 50.0


def check_layer(backbone: Backbone, layer: int) -> None:
    """Refuse a layer that the backbone does not have."""
    if layer >= len(backbone.layers):
        raise EditorError(
            f"layer {layer} is outside the backbone's {len(backbone.layers)} decoder layers: "
            f"choose 0 to {len(backbone.layers) - 1}"
        )


def layer_states(backbone: Backbone, layer: int, batch: EncodedBatch) -> torch.Tensor:
    """Output [B, T, d] of decoder layer ``layer`` in float32; the layers above are not run."""
    with stop_after(backbone.layers[layer]) as (captured, run):
        run(lambda: backbone.forward(batch, use_cache=False))
    return captured.tensor().float()


def mean_over(hidden: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Mean [B, d] of ``hidden`` [B, T, d] over the positions ``part``, bool [B, T]; zeros where there are none."""
    weight = part.to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, weight) / weight.sum(1, keepdim=True).clamp(min=1)


def extremes_over(hidden: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Maximum and minimum [B, 2d] of ``hidden`` [B, T, d] over the positions ``part``; every row has some."""
    shut = ~part[..., None]
    return torch.cat([hidden.masked_fill(shut, -torch.inf).amax(1), hidden.masked_fill(shut, torch.inf).amin(1)], 1)


class Matcher(nn.Module):
    """Similarity of pooled states: a weighted sum of cosines, one for each of ``parts``, and its threshold."""

    def __init__(self, width: int, parts: Sequence[str] = PARTS) -> None:
        super().__init__()
        self.parts = tuple(parts)
        # Without momentum, the statistics are means over everything that was seen in training.
        self.standard = nn.ModuleDict({p: nn.BatchNorm1d(width, affine=False, momentum=None) for p in parts})
        self.weights = nn.Parameter(torch.full((len(self.parts),), 10.0 / len(self.parts) / GAIN))
        self.limit = nn.Parameter(torch.tensor(3.0 / GAIN))

    @property
    def threshold(self) -> torch.Tensor:
        """The similarity, a scalar, that an edit has to exceed."""
        return GAIN * self.limit

    def features(self, pooled: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features [B, parts, d] of unit length from pooled states [B, d] of each part."""
        return torch.stack([F.normalize(self.standard[p](pooled[p].float()), dim=-1) for p in self.parts], 1)

    def similarity(self, asked: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Similarities [Q, N] of features [Q, parts, d] and [N, parts, d]."""
        return torch.einsum("qpd,npd,p->qn", asked, known, GAIN * self.weights)


def scope_loss(
    similarity: torch.Tensor, threshold: torch.Tensor, own: torch.Tensor, rivals: torch.Tensor
) -> torch.Tensor:
    """How badly questions find their own edit, or that there is none, [Q].

    ``similarity`` [Q, N] and ``threshold`` [Q] compete in a softmax. ``own`` bool [Q, N] marks a question's edit
    (nothing marked: out of scope), ``rivals`` bool [Q, N] those that it is certainly not about. A question in scope
    shall prefer its edit to rivals and threshold, and without its edit the threshold to the rivals.
    """
    shut = similarity.masked_fill(~rivals, -torch.inf)
    outside = torch.cat([shut, threshold[:, None]], 1)
    inside = own.any(1)
    mine = (similarity * own).sum(1)
    rejects = torch.logsumexp(outside, 1) - threshold
    finds = torch.logsumexp(torch.cat([outside, mine[:, None]], 1), 1) - mine
    return torch.where(inside, finds + 0.5 * rejects, rejects)


def encode_texts(backbone: Backbone, prompts: Sequence[str], template: bool) -> EncodedBatch:
    """Prompts alone, as the model reads them without a picture."""
    return backbone.encode([None] * len(prompts), prompts, None, template)
