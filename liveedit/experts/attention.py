"""Cross attention of LiveEdit (Chen et al., CVPR 2025, https://arxiv.org/abs/2411.15432), Eq. 2.

The paper writes one head without scale; this follows the released form: several heads laid out
contiguously in the feature axis, biases, scores scaled by 1/sqrt(head width), no output projection.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    """``width`` wide attention of queries [B, n, query_dim] over keys [B, T, key_dim]."""

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
        batch, count = keys.shape[0], queries.shape[1]
        q = self.q_mlp(queries.expand(batch, -1, -1)).view(batch, count, self.heads, -1).transpose(1, 2)
        k = self.k_mlp(keys).view(batch, keys.shape[1], self.heads, -1).transpose(1, 2)
        v = self.v_mlp(keys).view(batch, keys.shape[1], self.heads, -1).transpose(1, 2)
        allowed = None
        if mask is not None:
            allowed = (mask if mask.dim() == 3 else mask[:, None, :].expand(-1, count, -1))[:, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        if allowed is not None:
            mixed = torch.where(allowed.any(-1, keepdim=True), mixed, torch.zeros_like(mixed))
        return mixed.transpose(1, 2).reshape(batch, count, -1)
