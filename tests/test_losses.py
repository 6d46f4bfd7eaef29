"""The losses against values worked out by hand or by the plain formula in float64."""

from __future__ import annotations

import math

import pytest
import torch

from liveedit.experts.routing import similarity
from liveedit.losses import (
    absolute_routing_loss,
    answer_loss,
    hard_routing_loss,
    info_nce,
    locality_loss,
    mean_by_row,
    relative_routing_loss,
)


def test_answer_loss_is_the_mean_over_each_answers_tokens() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0], [math.log(7.0), 0.0]], dtype=torch.float64)
    gold, rows = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    found = answer_loss(logits, gold, rows, 3)
    # -log 3/4 and -log 1/2 share the first answer; the second is -log 1/8; the third sample has no tokens.
    assert found.tolist() == pytest.approx([(math.log(4 / 3) + math.log(2)) / 2, math.log(8), 0.0])


def test_mean_by_row_leaves_an_empty_row_at_zero() -> None:
    assert mean_by_row(torch.tensor([1.0, 3.0]), torch.tensor([1, 1]), 2).tolist() == [0.0, 2.0]


def test_locality_loss_takes_the_direction_it_is_told() -> None:
    before = torch.tensor([[math.log(0.75), math.log(0.25)]], dtype=torch.float64)
    after = torch.tensor([[math.log(0.5), math.log(0.5)]], dtype=torch.float64)
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    backward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(2.0)
    assert locality_loss(before, after).item() == pytest.approx(forward)
    assert locality_loss(before, after, "after||before").item() == pytest.approx(backward)
    assert locality_loss(before, before).item() == pytest.approx(0.0, abs=1e-12)


def test_info_nce_counts_the_positive_and_the_allowed_candidates() -> None:
    positive = torch.tensor([1.0], dtype=torch.float64)
    candidates = torch.tensor([[0.0, 2.0, 50.0]], dtype=torch.float64)
    allowed = torch.tensor([[True, True, False]])
    wanted = -math.log(math.e / (math.e + 1 + math.e**2))
    assert info_nce(positive, candidates, allowed).item() == pytest.approx(wanted)


def test_hard_routing_loss_against_the_plain_formula() -> None:
    random = torch.Generator().manual_seed(3)
    count, k, width = 3, 2, 4

    def features(n: int) -> torch.Tensor:
        return torch.randn(n, k, width, generator=random, dtype=torch.float64)

    general, general_threshold, local, local_threshold, experts = (features(n) for n in (3, 3, 3, 3, 5))
    general_rivals = torch.tensor([[j != i and (i, j) != (0, 4) for j in range(5)] for i in range(count)])
    local_rivals = torch.tensor([[(i, j) != (2, 1) for j in range(5)] for i in range(count)])

    def plain(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(sum(a[q] @ b[q] for q in range(k))) / k / math.sqrt(width)

    found = hard_routing_loss(
        general, general_threshold, local, local_threshold, experts, general_rivals, local_rivals
    )
    for i in range(count):
        own, sentinel = plain(general[i], experts[i]), plain(general[i], general_threshold[i])
        rivals = [plain(general[i], experts[j]) for j in range(5) if general_rivals[i, j]]
        kept = -own + math.log(sum(math.exp(v) for v in [own, sentinel, *rivals]))
        filtered = -sentinel + math.log(sum(math.exp(v) for v in [sentinel, *rivals]))
        away = plain(local[i], local_threshold[i])
        strangers = [plain(local[i], experts[j]) for j in range(5) if local_rivals[i, j]]
        elsewhere = -away + math.log(sum(math.exp(v) for v in [away, *strangers]))
        assert found[i].item() == pytest.approx(kept + 0.5 * (filtered + elsewhere))


def test_soft_routing_losses_by_hand() -> None:
    own = torch.tensor([2.0], dtype=torch.float64)
    others = torch.tensor([[0.0, -1.0, 9.0]], dtype=torch.float64)
    allowed = torch.tensor([[True, True, False]])

    def log_sigmoid(x: float) -> float:
        return -math.log(1 + math.exp(-x))

    away = (-math.log(1 - 0.5) - math.log(1 - 1 / (1 + math.e))) / 2
    assert absolute_routing_loss(own, others, allowed).item() == pytest.approx(-log_sigmoid(2.0) + away)
    share = math.e**2 / (math.e**2 + 1 + math.exp(-1))
    assert relative_routing_loss(own, others, allowed).item() == pytest.approx(-math.log(share))


def test_similarity_is_the_mean_over_the_queries_over_the_root_of_the_width() -> None:
    left = torch.tensor([[[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]])
    right = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 5.0]]])
    assert similarity(left, right).item() == pytest.approx((3.0 + 6.0) / 2 / 2)
