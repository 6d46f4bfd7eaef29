"""Cross attention of LiveEdit (Chen et al., CVPR 2025, https://arxiv.org/abs/2411.15432), Eq. 2.

The paper writes one head without scale; this follows the released form: several heads laid out
contiguously in the feature axis, biases, scores scaled by 1/sqrt(head width), no output projection.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class CrossAttention(nn.Module):
    """``width`` wide attention of queries [B, n, query_dim] over keys [B, T, key_dim]; either B may be 1 and is shared."""

    def __init__(self, query_dim: int, key_dim: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_mlp = nn.Linear(query_dim, width)
        self.k_mlp = nn.Linear(key_dim, width)
        self.v_mlp = nn.Linear(key_dim, width)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attend; ``mask`` bool [B, T], or [B, n, T] with a row per query, is True where a key may be seen.

        Returns [B, n, width]. A query whose keys are all hidden gives zeros rather than NaN: a question
        without text tokens simply contributes nothing.
        """
        batch, count = max(queries.shape[0], keys.shape[0]), queries.shape[1]
        q, k, v = (
            projected.view(projected.shape[0], projected.shape[1], self.heads, -1).transpose(1, 2)
            for projected in (self.q_mlp(queries), self.k_mlp(keys), self.v_mlp(keys))
        )
        # Plain products: with few queries over short rows the fused kernels are several times slower on a CPU,
        # and queries or keys shared by the batch are projected once.
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if mask is None:
            mixed = scores.softmax(-1) @ v
        else:
            allowed = (mask if mask.dim() == 3 else mask[:, None, :].expand(-1, count, -1))[:, None]
            shares = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1)
            mixed = torch.where(allowed.any(-1, keepdim=True), shares, torch.zeros_like(shares)) @ v
        return mixed.transpose(1, 2).reshape(batch, count, -1)
