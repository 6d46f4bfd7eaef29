"""Routing and the residual against the paper's formulas, written out in float64 with plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from liveedit.experts.routing import (
    RoutingStrategy,
    apply_residual,
    pair_similarity,
    route,
    similarity,
    soft_weights,
)


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inner(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean over the k queries of the inner product, over sqrt(d_m)."""
    k, width = a.shape
    total = 0.0
    for i in range(k):
        total += sum(float(x) * float(y) for x, y in zip(a[i].double(), b[i].double(), strict=True))
    return total / k / math.sqrt(width)


def test_similarity_by_hand() -> None:
    left = torch.tensor([[[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]]])
    right = torch.tensor([[[1.0, 0.0, 5.0, 1.0], [2.0, 2.0, 2.0, 2.0]], [[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]])
    # Inner products 2 and 4, mean 3, over sqrt(4); then 0 and 2.
    assert similarity(left, right).tolist() == [[1.5, 0.5]]
    assert pair_similarity(left, right[:1]).tolist() == [1.5]


@pytest.mark.parametrize("shift", [0.0, 0.4, -0.4])
def test_route_equals_the_formulas(shift: float) -> None:
    B, E, k, m = 5, 9, 3, 16
    phi, theta, psi = features(1, B, k, m), 0.3 * features(2, B, k, m), features(3, B, k, m)
    expert_phi, expert_psi = features(4, E, k, m), features(5, E, k, m)
    active = torch.tensor([True] * 7 + [False, True])
    got = route(phi, theta, psi, expert_phi, expert_psi, active, shift)
    for b in range(B):
        threshold = inner(phi[b], theta[b])
        assert float(got.threshold[b]) == pytest.approx(threshold, abs=1e-5)
        kept = []
        for e in range(E):
            visual = inner(phi[b], expert_phi[e])
            assert float(got.visual[b, e]) == pytest.approx(visual, abs=1e-5)
            if visual - threshold + shift > 0 and bool(active[e]):
                kept.append(e)
        assert got.passed[b].nonzero().flatten().tolist() == kept
        prompts = [inner(psi[b], expert_psi[e]) for e in range(E)]
        total = sum(math.exp(prompts[e]) for e in kept)
        for e in range(E):
            absolute = 1 / (1 + math.exp(-prompts[e]))
            relative = math.exp(prompts[e]) / total if e in kept else 0.0
            assert float(got.absolute[b, e]) == pytest.approx(absolute, abs=1e-5)
            assert float(got.relative[b, e]) == pytest.approx(relative, abs=1e-5)
            assert float(got.weight[b, e]) == pytest.approx(absolute * relative, abs=1e-5)
    passed = got.passed.sum().item()
    assert 0 < passed < B * E, "the example must have experts on both sides of the threshold"


def test_equal_to_the_threshold_does_not_pass() -> None:
    same = torch.ones(1, 1, 4)
    got = route(same, same, same, same, same)
    assert not got.passed.any()
    assert got.weight.tolist() == [[0.0]]


def test_slack_lowers_every_threshold_and_shows_in_it() -> None:
    rng = torch.Generator().manual_seed(3)
    visual, threshold, prompt = (torch.randn(5, 3, 8, generator=rng) for _ in range(3))
    phi, psi = (torch.randn(7, 3, 8, generator=rng) for _ in range(2))
    plain, looser = route(visual, threshold, prompt, phi, psi), route(visual, threshold, prompt, phi, psi, slack=0.3)
    assert torch.allclose(looser.threshold, plain.threshold - 0.3)
    shifted = route(visual, threshold, prompt, phi, psi, margin_shift=0.3)
    assert torch.equal(looser.passed, shifted.passed)
    assert looser.passed.sum() > plain.passed.sum()


def test_nothing_passed_gives_zero_weights_and_no_nan() -> None:
    absolute, relative, weight = soft_weights(
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[False, False], [True, False]])
    )
    assert relative.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert weight[0].tolist() == [0.0, 0.0]
    assert float(weight[1, 0]) == pytest.approx(float(absolute[1, 0]))


def test_a_single_expert_keeps_its_absolute_weight() -> None:
    _, relative, weight = soft_weights(torch.tensor([[-2.0]]), torch.tensor([[True]]))
    assert relative.tolist() == [[1.0]]
    assert float(weight) == pytest.approx(1 / (1 + math.exp(2)))


def test_switching_an_expert_off_leaves_the_others_similarities() -> None:
    phi, theta, psi, ep, es = (
        features(1, 2, 2, 8),
        -features(1, 2, 2, 8),
        features(2, 2, 2, 8),
        features(3, 4, 2, 8),
        features(4, 4, 2, 8),
    )
    every = route(phi, theta, psi, ep, es, None, 10.0)
    fewer = route(phi, theta, psi, ep, es, torch.tensor([True, False, True, True]), 10.0)
    alone = route(phi, theta, psi, ep[[0, 2, 3]], es[[0, 2, 3]], None, 10.0)
    assert every.passed.all()
    assert torch.equal(every.visual, fewer.visual)
    assert torch.allclose(fewer.weight[:, [0, 2, 3]], alone.weight, atol=1e-7)
    assert not torch.allclose(every.weight[:, [0, 2, 3]], alone.weight, atol=1e-3)


@pytest.mark.parametrize("shared", [True, False])
def test_residual_equals_the_sum_over_experts(shared: bool) -> None:
    B, T, d, E, r = 2, 5, 8, 3, 4
    hidden, normed = features(1, B, T, d), features(2, B, T, d)
    shape = (E, r, d) if shared else (B, E, r, d)
    U, V, weight = features(3, *shape), features(4, *shape), features(5, B, E).abs()
    got = apply_residual(hidden, normed, U, V, weight)
    for b in range(B):
        u, v = (U, V) if shared else (U[b], V[b])
        for t in range(T):
            wanted = hidden[b, t].double().numpy().copy()
            for e in range(E):
                gate = np.maximum(normed[b, t].double().numpy() @ u[e].double().numpy().T, 0.0)
                wanted += float(weight[b, e]) * (gate @ v[e].double().numpy())
            assert np.allclose(got[b, t].numpy(), wanted, atol=1e-4)


def test_residual_keeps_the_type_of_the_hidden_states() -> None:
    hidden = features(1, 1, 2, 4).bfloat16()
    got = apply_residual(hidden, features(2, 1, 2, 4), features(3, 1, 2, 4), features(4, 1, 2, 4), torch.ones(1, 1))
    assert got.dtype == torch.bfloat16


def strategy_example() -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Features of two questions and five experts, and which experts are switched on."""
    question = (features(1, 2, 2, 8), 0.2 * features(2, 2, 2, 8), features(3, 2, 2, 8))
    return (*question, features(4, 5, 2, 8), features(5, 5, 2, 8)), torch.tensor([True, True, False, True, True])


def test_the_default_strategy_is_the_paper_s() -> None:
    example, active = strategy_example()
    default, named = route(*example, active), route(*example, active, 0.0, RoutingStrategy())
    assert all(torch.equal(a, b) for a, b in zip(vars(default).values(), vars(named).values(), strict=True))


def test_without_the_sentinel_every_active_expert_acts() -> None:
    example, active = strategy_example()
    strategy = RoutingStrategy(sentinel=False)
    got = route(*example, active, 0.0, strategy)
    assert got.passed.tolist() == [active.tolist()] * 2
    shown = got.prompt[:, active]
    wanted = torch.sigmoid(shown) * torch.softmax(shown, -1)
    assert torch.allclose(got.weight[:, active], wanted)
    assert got.weight[:, ~active].eq(0).all()
    assert strategy.keeps_all
    assert not RoutingStrategy().keeps_all
    assert not RoutingStrategy(sentinel=False, nearest=2).keeps_all


def test_the_nearest_experts_are_kept() -> None:
    example, active = strategy_example()
    got = route(*example, active, 0.0, RoutingStrategy(sentinel=False, nearest=2))
    for row in range(2):
        order = sorted((i for i in range(5) if active[i]), key=lambda i: -float(got.visual[row, i]))
        assert sorted(got.passed[row].nonzero().flatten().tolist()) == sorted(order[:2])
    more = route(*example, active, 0.0, RoutingStrategy(sentinel=False, nearest=9))
    assert more.passed.tolist() == [active.tolist()] * 2


def test_the_nearest_of_those_that_passed_may_be_none() -> None:
    example, _ = strategy_example()
    nothing = route(*example, None, -100.0, RoutingStrategy(nearest=1))
    assert not nothing.passed.any()
    assert nothing.weight.eq(0).all()
    everything = route(*example, None, 100.0, RoutingStrategy(nearest=1))
    assert everything.passed.sum(1).tolist() == [1, 1]
    assert everything.visual[everything.passed].tolist() == everything.visual.max(1).values.tolist()


def test_without_soft_routing_the_kept_experts_are_averaged() -> None:
    example, active = strategy_example()
    got = route(*example, active, 100.0, RoutingStrategy(soft=False))
    assert torch.allclose(got.weight[:, active], torch.full((2, 4), 0.25))
    assert route(*example, active, -100.0, RoutingStrategy(soft=False)).weight.eq(0).all()
