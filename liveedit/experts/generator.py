"""The expert generator (paper, Eq. 1): an edit's layer-l_e states in, the low-rank pair (U, V) out.

Two separate generators, one for U and one for V, each a learned block of r queries that attends to the
tokens of the edit. With ``generator_signal = "states"`` they read the layer's states only, as the paper
does. With ``"states+tokens"`` each state is accompanied by the input embedding of the token that follows
it and by that token's place in the answer: deep states bury which token comes next, and attention over
a set forgets its order, but an arbitrary answer has to be spelt out token by token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from liveedit.config import EditorConfig
from liveedit.experts.attention import CrossAttention


@dataclass
class GeneratorInput:
    """What the generator reads of a batch of edits.

    ``states`` [B, T, d] of layer l_e over vision, prompt and answer tokens, ``mask`` bool [B, T];
    ``following`` [B, T, d] the input embedding of the next token where that token belongs to the answer
    (zero elsewhere) and ``order`` int64 [B, T] its place in the answer counted from 1 (0 elsewhere).
    """

    states: torch.Tensor
    mask: torch.Tensor
    following: torch.Tensor
    order: torch.Tensor


class _Half(nn.Module):
    """The generator of one matrix of the pair."""

    def __init__(self, config: EditorConfig) -> None:
        super().__init__()
        d, self.scale = config.hidden_size, 1.0 / (config.lora_scale * math.sqrt(config.rank))
        self.reads_tokens = config.generator_signal == "states+tokens"
        self.queries = nn.Parameter(torch.randn(1, config.rank, config.module_dim) / math.sqrt(config.module_dim))
        self.layer_norm = nn.LayerNorm(d)
        key_dim = d
        if self.reads_tokens:
            key_dim = 2 * d + config.module_dim
            self.token_norm = nn.LayerNorm(d)
            self.order = nn.Embedding(config.max_answer_tokens + 1, config.module_dim)
        self.attention = CrossAttention(config.module_dim, key_dim, d, config.heads)
        if self.reads_tokens:
            self._align(config.rank)

    @torch.no_grad()
    def _align(self, rank: int) -> None:
        """Start with query i looking at place i of the answer: found by training too, but after thousands of edits."""
        weight = self.order.weight
        weight.normal_(std=1.0)
        rows = min(rank, weight.shape[0] - 1)
        self.queries[0, :rows] = weight[1 : rows + 1]
        width, dim = self.attention.q_mlp.weight.shape[0], weight.shape[1]
        # Equal maps on both sides make matching places attract; head widths set the resulting score.
        shared = torch.randn(width, dim) * (3.0 / math.sqrt(dim)) ** 0.5 / dim**0.25
        self.attention.q_mlp.weight.copy_(shared)
        self.attention.k_mlp.weight[:, -dim:] = shared

    def forward(self, inputs: GeneratorInput) -> torch.Tensor:
        """One matrix per edit, [B, r, d]."""
        keys = self.layer_norm(inputs.states)
        if self.reads_tokens:
            known = (inputs.order > 0)[..., None]
            tokens = torch.where(known, self.token_norm(inputs.following), torch.zeros_like(inputs.following))
            place = self.order(inputs.order.clamp(max=self.order.num_embeddings - 1))
            keys = torch.cat([keys, tokens, place], dim=-1)
        return self.attention(self.queries, keys, inputs.mask) * self.scale


class ExpertGenerator(nn.Module):
    """f_eg of the paper: (U, V) of an edit in one pass."""

    def __init__(self, config: EditorConfig) -> None:
        super().__init__()
        self.u = _Half(config)
        self.v = _Half(config)

    def forward(self, inputs: GeneratorInput) -> tuple[torch.Tensor, torch.Tensor]:
        """U and V, each [B, r, d]."""
        return self.u(inputs), self.v(inputs)
