"""Routing and fusion on plain tensors (paper, Eqs. 5-7), and the strategies that studies compare it with.

Similarity follows the released form: the mean over the k queries of the inner product, divided by
sqrt(d_m). Hard routing keeps an expert when its visual similarity exceeds the sentinel's; soft routing
weighs the kept ones by sigmoid (absolute) times softmax (relative) of the prompt similarity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class RoutingStrategy:
    """Which experts a question meets and how they are weighed; the defaults are the paper's.

    ``sentinel``: keep only experts visually nearer than the sentinel (Eq. 5). ``nearest``: of those, keep this
    many, the visually nearest (0: all). ``soft``: weigh the kept ones by the prompt (Eq. 7); otherwise their
    residuals are averaged, as "- SR" of the paper's Table 2 does. ``whole_picture``: compare whole pictures, not
    what the prompt asks to look at (HR* of Table 2).
    """

    sentinel: bool = True
    nearest: int = 0
    soft: bool = True
    whole_picture: bool = False

    @property
    def keeps_all(self) -> bool:
        """Whether every active expert acts on every question."""
        return not self.sentinel and self.nearest == 0


PAPER_ROUTING = RoutingStrategy()


def similarity(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Similarity of every row of ``left`` [B, k, d_m] with every row of ``right`` [E, k, d_m]: [B, E]."""
    k, width = left.shape[-2:]
    return left.flatten(-2) @ right.flatten(-2).transpose(-1, -2) / (k * math.sqrt(width))


def pair_similarity(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Similarity of the rows of ``left`` and ``right`` [B, k, d_m] one to one: [B]."""
    k, width = left.shape[-2:]
    return (left * right).sum((-2, -1)) / (k * math.sqrt(width))


@dataclass
class Routing:
    """Everything routing decided, for B questions and E experts; ``threshold`` [B], the rest [B, E]."""

    visual: torch.Tensor
    threshold: torch.Tensor
    passed: torch.Tensor
    prompt: torch.Tensor
    absolute: torch.Tensor
    relative: torch.Tensor
    weight: torch.Tensor


def soft_weights(prompt: torch.Tensor, passed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Absolute, relative and final weights (Eq. 7) of prompt similarities [B, E] among the ``passed`` ones."""
    absolute = torch.sigmoid(prompt)
    shifted = prompt.masked_fill(~passed, -torch.inf)
    # A row in which nothing passed has no distribution; its weights are zero.
    relative = torch.where(passed.any(-1, keepdim=True), torch.softmax(shifted, -1), torch.zeros_like(prompt))
    relative = torch.nan_to_num(relative)
    return absolute, relative, absolute * relative


def route(
    visual_feature: torch.Tensor,
    threshold_feature: torch.Tensor,
    prompt_feature: torch.Tensor,
    expert_visual: torch.Tensor,
    expert_prompt: torch.Tensor,
    active: torch.Tensor | None = None,
    margin_shift: float = 0.0,
    strategy: RoutingStrategy = PAPER_ROUTING,
    slack: float = 0.0,
) -> Routing:
    """Route B questions (features [B, k, d_m]) among E experts (features [E, k, d_m]).

    ``active`` bool [E] switches experts off before hard routing; ``margin_shift`` is added to the margin
    for a what-if (positive lets more experts pass). The threshold is the sentinel's similarity less ``slack``.
    """
    visual = similarity(visual_feature, expert_visual)
    threshold = pair_similarity(visual_feature, threshold_feature) - slack
    passed = visual - threshold[:, None] + margin_shift > 0
    if not strategy.sentinel:
        passed = torch.ones_like(passed)
    if active is not None:
        passed = passed & active[None, :]
    if strategy.nearest:
        passed = passed & _nearest(visual.masked_fill(~passed, -torch.inf), strategy.nearest)
    prompt = similarity(prompt_feature, expert_prompt)
    absolute, relative, weight = soft_weights(prompt, passed)
    if not strategy.soft:
        absolute = torch.ones_like(prompt)
        relative = weight = passed.to(prompt.dtype) / passed.sum(-1, keepdim=True).clamp(min=1)
    return Routing(visual, threshold, passed, prompt, absolute, relative, weight)


def _nearest(visual: torch.Tensor, count: int) -> torch.Tensor:
    """Bool [B, E]: the ``count`` experts of largest similarity of each row of ``visual`` [B, E]."""
    best = visual.topk(min(count, visual.shape[1]), dim=1).indices
    return torch.zeros_like(visual, dtype=torch.bool).scatter(1, best, True)


def fused_residual(normed: torch.Tensor, U: torch.Tensor, V: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The term that Eq. 6 adds: sum_e weight_e * relu(normed U_e^T) V_e, [B, T, d].

    ``normed`` [B, T, d] is the editor's LayerNorm of the hidden states, ``U`` and ``V`` [E, r, d] are shared by all
    rows or [B, E, r, d], ``weight`` [B, E]. Without experts (E = 0) it is zero.
    """
    if U.dim() == 3:
        U, V = U.expand(normed.shape[0], *U.shape), V.expand(normed.shape[0], *V.shape)
    rank = U.shape[-2]
    gates = F.relu(normed @ U.flatten(1, 2).transpose(1, 2))
    gates = gates * weight.repeat_interleave(rank, dim=1)[:, None, :]
    return gates @ V.flatten(1, 2)


def apply_residual(
    hidden: torch.Tensor, normed: torch.Tensor, U: torch.Tensor, V: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Eq. 6: ``hidden`` [B, T, d] plus :func:`fused_residual`, in ``hidden``'s type."""
    return hidden + fused_residual(normed, U, V, weight).to(hidden.dtype)
