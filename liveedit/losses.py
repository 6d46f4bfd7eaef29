"""The losses of LiveEdit (Chen et al., CVPR 2025), one function per equation of the paper.

Similarities are those of :mod:`liveedit.experts.routing`. Wherever candidates are compared, ``allowed``
masks tell false negatives from true ones: two edits of the same picture, or two prompts that mean the
same, are neither pulled together nor pushed apart.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from liveedit.experts.routing import pair_similarity, similarity

BLOCKED = -1e4


def answer_loss(logits: torch.Tensor, gold: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Eqs. 9 and 10: -log f(o | v, p), the mean over each answer's tokens, for ``count`` samples: [count].

    ``logits`` [N, vocabulary] and ``gold`` [N] belong to all answer tokens, ``rows`` [N] says of which sample.
    """
    losses = F.cross_entropy(logits, gold, reduction="none")
    return mean_by_row(losses, rows, count)


def mean_by_row(values: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Mean of ``values`` [N] over each of ``count`` samples: [count]; a sample without values gets 0."""
    total = values.new_zeros(count).index_add(0, rows, values)
    number = values.new_zeros(count).index_add(0, rows, torch.ones_like(values))
    return total / number.clamp(min=1)


def locality_loss(before: torch.Tensor, after: torch.Tensor, direction: str = "before||after") -> torch.Tensor:
    """Eq. 11: KL divergence of the answer distributions [N, vocabulary] before and after editing, [N].

    The paper writes KL(before || after); the released code computes KL(after || before).
    """
    log_before, log_after = F.log_softmax(before, -1), F.log_softmax(after, -1)
    if direction == "after||before":
        log_before, log_after = log_after, log_before
    return (log_before.exp() * (log_before - log_after)).sum(-1)


def info_nce(positive: torch.Tensor, candidates: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Eq. 14 at temperature 1: -log of the positive's share, [B].

    ``positive`` [B] and ``candidates`` [B, C] are similarities, the positive not among the candidates;
    ``allowed`` bool [B, C] masks candidates out.
    """
    rivals = torch.where(allowed, candidates, torch.full_like(candidates, BLOCKED))
    return torch.logsumexp(torch.cat([positive[:, None], rivals], 1), 1) - positive


def hard_routing_loss(
    generality: torch.Tensor,
    generality_threshold: torch.Tensor,
    locality: torch.Tensor,
    locality_threshold: torch.Tensor,
    experts: torch.Tensor,
    generality_rivals: torch.Tensor,
    locality_rivals: torch.Tensor,
) -> torch.Tensor:
    """Eq. 13 (with the released form's second use of the sentinel), [B] for the first term plus [B] for the second.

    Features [B, k, d_m] of questions in the generality and locality domains, and of the sentinel under the same
    prompts; ``experts`` [E, k, d_m] with E >= B, the first B being the edits themselves. ``*_rivals`` bool [B, E]
    says which experts are unrelated to a question. A generality question shall prefer its own edit to all
    unrelated ones and to the sentinel; the sentinel shall be preferred to unrelated edits by either question.
    """
    to_experts = similarity(generality, experts)
    own = to_experts[:, : len(generality)].diagonal()
    to_sentinel = pair_similarity(generality, generality_threshold)
    rivals = torch.cat([to_experts, to_sentinel[:, None]], 1)
    open_rivals = torch.cat([generality_rivals, torch.ones_like(generality_rivals[:, :1])], 1)
    kept = info_nce(own, rivals, open_rivals)
    filtered = info_nce(to_sentinel, to_experts, generality_rivals)
    elsewhere = info_nce(pair_similarity(locality, locality_threshold), similarity(locality, experts), locality_rivals)
    return kept + 0.5 * (filtered + elsewhere)


def absolute_routing_loss(own: torch.Tensor, others: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Eq. 15: -log sigmoid(own) - log(1 - sigmoid(other)), [B].

    The paper draws one other at random; this takes the mean over all ``allowed`` others [B, C], the
    expectation of that draw.
    """
    away = F.softplus(others) * allowed
    return F.softplus(-own) + away.sum(1) / allowed.sum(1).clamp(min=1)


def relative_routing_loss(own: torch.Tensor, others: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Eq. 16: InfoNCE of the own prompt feature among the candidates' [B, C], [B]."""
    return info_nce(own, others, allowed)
