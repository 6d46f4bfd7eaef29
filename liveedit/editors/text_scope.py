"""Finding the edit that a question's words are about: a small text encoder over the backbone's token embeddings.

It is SERAC's scope classifier (its "embedding" variant) and LTE's retriever, in place of BERT and of a sentence encoder,
whose weights may not be at hand; it is trained with the editor, from scratch.
"""

from __future__ import annotations

import torch
from torch import nn

from liveedit.backbones import Backbone, EncodedBatch
from liveedit.editors.pooled import GAIN, mean_over

POSITIONS = 512


class Reads(nn.Module):
    """The backbone's frozen token embeddings [.., d], brought to another width; they are no part of this module."""

    def __init__(self, backbone: Backbone, width: int) -> None:
        super().__init__()
        self._backbone = (backbone,)
        self.linear = nn.Linear(backbone.hidden_size, width)
        self.gain = float(backbone.model.get_input_embeddings().weight.float().pow(2).mean().rsqrt())

    @property
    def weight(self) -> torch.Tensor:
        """What transformers asks an embedding for."""
        return self.linear.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids to vectors of unit scale."""
        return self.linear(self._backbone[0].embed(ids).to(self.linear.weight.dtype) * self.gain)


class TextScope(nn.Module):
    """A small transformer that embeds texts: two of the same scope are nearer than a learned threshold."""

    def __init__(self, backbone: Backbone, width: int, layers: int, head_width: int) -> None:
        super().__init__()
        self.reads = Reads(backbone, width)
        self.places = nn.Embedding(POSITIONS, width)
        nn.init.normal_(self.places.weight, std=0.1)
        layer = nn.TransformerEncoderLayer(
            width, width // head_width, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.sharpness = nn.Parameter(torch.tensor(10.0 / GAIN))
        self.limit = nn.Parameter(torch.tensor(5.0 / GAIN))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Vectors [B, width] of unit length, of texts [B, T]."""
        states = self.reads(ids) + self.places(positions.clamp(max=POSITIONS - 1))
        states = self.layers(states, src_key_padding_mask=~mask.bool()).float()
        return nn.functional.normalize(mean_over(states, mask.bool()), dim=-1)

    def similarity(self, asked: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Similarities [Q, N] of vectors."""
        return GAIN * self.sharpness * (asked @ known.T)

    @property
    def threshold(self) -> torch.Tensor:
        """The similarity, a scalar, that an edit has to exceed."""
        return GAIN * self.limit

    def vectors(self, texts: EncodedBatch) -> torch.Tensor:
        """Vectors [B, width] of encoded prompts."""
        return self(texts.input_ids, texts.attention_mask, texts.position_ids)
