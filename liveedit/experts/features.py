"""Feature extractors (paper, Eqs. 3 and 4) and the vision sentinel (Eq. 5).

The visual feature phi is what the prompt asks to look at: learned queries first read the prompt, then
the picture. The prompt feature psi reads the prompt alone. The edit side and the input side have an
extractor each; only the input side carries the sentinel Theta, a picture that stands for "unrelated".
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from liveedit.config import EditorConfig
from liveedit.experts.attention import CrossAttention


class FeatureExtractor(nn.Module):
    """f_fe: (vision states, prompt states) -> (phi, psi), each [B, k, d_m]."""

    def __init__(self, config: EditorConfig, sentinel: bool) -> None:
        super().__init__()
        d, m, k = config.hidden_size, config.module_dim, config.queries
        self.normed = config.visual_feature == "normed"
        self.whole_picture = config.whole_picture
        self.visual_norm = nn.LayerNorm(d)
        self.visual_queries = nn.Parameter(torch.randn(1, k, m) / math.sqrt(m))
        self.read_prompt = CrossAttention(m, d, m, config.heads)
        self.read_vision = CrossAttention(m, d, m, config.heads)
        self.prompt_norm = nn.LayerNorm(d)
        self.prompt_queries = nn.Parameter(torch.randn(1, k, m) / math.sqrt(m))
        self.read_meaning = CrossAttention(m, d, m, config.heads)
        self.sentinel = nn.Parameter(torch.randn(1, config.sentinel_tokens, d) * 0.5) if sentinel else None
        # Of a frozen extractor: the sentinel as read_vision projects it, and which weights that was made with.
        self._projected: tuple[tuple[tuple[int, int], ...], tuple[torch.Tensor, torch.Tensor]] | None = None

    @torch.no_grad()
    def standardise(self, vision: torch.Tensor, prompt: torch.Tensor) -> None:
        """Start the norms at zero mean and unit variance in every dimension of real states [N, d].

        A layer's states share a large common part, which a LayerNorm alone leaves in: all features would
        begin nearly parallel. The sentinel starts as a picture of nothing in particular: tokens of many.
        """
        for norm, states in ((self.visual_norm, torch.cat([vision, prompt])), (self.prompt_norm, prompt)):
            plain = nn.functional.layer_norm(states, norm.normalized_shape)
            spread = plain.std(0).clamp(min=1e-3)
            norm.weight.copy_(1.0 / spread)
            norm.bias.copy_(-plain.mean(0) / spread)
        if self.sentinel is not None:
            count = self.sentinel.shape[1]
            picked = torch.linspace(0, len(vision) - 1, count).long()
            self.sentinel.copy_(vision[picked][None])

    def attention_queries(self, prompt: torch.Tensor, prompt_mask: torch.Tensor | None = None) -> torch.Tensor:
        """CA_phi1: what the prompt asks to look at, [B, k, d_m].

        Under ``whole_picture`` (HR*) no prompt is read, and the learned queries look at the picture themselves.
        """
        if self.whole_picture:
            return self.visual_queries.expand(len(prompt), -1, -1)
        return self.read_prompt(self.visual_queries, self.visual_norm(prompt), prompt_mask)

    def visual(
        self, asked: torch.Tensor, vision: torch.Tensor, vision_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """CA_phi2: the visual feature phi [B, k, d_m] of ``vision`` [B, N_v, d] under ``asked`` [B, k, d_m]."""
        return self._at_length(self.read_vision(asked, self.visual_norm(vision), vision_mask))

    def _at_length(self, feature: torch.Tensor) -> torch.Tensor:
        """The visual feature [B, k, d_m] as it is compared."""
        # Hard routing compares two similarities. Unbounded features grow a large part common to all pictures,
        # which has to cancel in that comparison and drowns what differs; at a fixed length such a part would
        # only take room from what tells pictures apart.
        return F.rms_norm(feature.float(), feature.shape[-1:]) if self.normed else feature

    def meaning(self, prompt: torch.Tensor, prompt_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The prompt feature psi [B, k, d_m]."""
        return self.read_meaning(self.prompt_queries, self.prompt_norm(prompt), prompt_mask)

    def whole(self, vision: torch.Tensor, vision_mask: torch.Tensor | None = None) -> torch.Tensor:
        """phi of the whole picture, [B, k, d_m]: what attention gives when it weighs every visual token alike.

        No prompt says where to look, so all k parts are equal (the paper's ablation HR*, Section 5.4, on weights
        that were trained with prompts; ``whole_picture`` of the configuration trains it).
        """
        values = self.read_vision.v_mlp(self.visual_norm(vision))
        seen = torch.ones_like(values[..., :1]) if vision_mask is None else vision_mask[..., None].to(values.dtype)
        mean = (values * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        return self._at_length(mean.expand(-1, self.visual_queries.shape[1], -1))

    def threshold_feature(self, asked: torch.Tensor) -> torch.Tensor:
        """phi of the sentinel under the same prompt, [B, k, d_m] (Eq. 5)."""
        return self._at_length(self.read_vision.attend(asked, self._projected_sentinel()))

    def _projected_sentinel(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The sentinel's keys and values. Frozen weights give the same for every question, so they are kept:
        making them takes as long as projecting a picture of as many tokens."""
        sentinel, attention = self._sentinel(), self.read_vision
        parts = (sentinel, *self.visual_norm.parameters(), *attention.k_mlp.parameters(), *attention.v_mlp.parameters())
        if any(part.requires_grad for part in parts):
            self._projected = None
            return attention.project(self.visual_norm(sentinel))
        # A weight that is loaded or moved has another version or address.
        stamp = tuple((part.data_ptr(), part._version) for part in parts)
        if self._projected is None or self._projected[0] != stamp:
            self._projected = (stamp, attention.project(self.visual_norm(sentinel)))
        return self._projected[1]

    def whole_threshold(self) -> torch.Tensor:
        """phi of the whole sentinel, [1, k, d_m]."""
        return self.whole(self._sentinel())

    def _sentinel(self) -> torch.Tensor:
        if self.sentinel is None:
            raise RuntimeError("the edit side has no sentinel")
        return self.sentinel
