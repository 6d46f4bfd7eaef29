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
        return self.attend(queries, self.project(keys), mask)

    def project(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What :meth:`attend` needs of the keys [B, T, key_dim]: two tensors [B, heads, T, width / heads]."""
        return self._by_head(self.k_mlp(keys)), self._by_head(self.v_mlp(keys))

    def _by_head(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.view(projected.shape[0], projected.shape[1], self.heads, -1).transpose(1, 2)

    def attend(
        self, queries: torch.Tensor, projected: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attend to ``projected`` keys, as :meth:`forward` does to keys."""
        (k, v), q = projected, self._by_head(self.q_mlp(queries))
        batch, count = max(q.shape[0], k.shape[0]), q.shape[2]
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
