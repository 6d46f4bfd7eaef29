"""The expert generator: shapes, scale, what it reads, and both signals against a float64 computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from liveedit.config import EditorConfig
from liveedit.experts.generator import ExpertGenerator, GeneratorInput, _Half

D, M, R = 16, 8, 3


def build(signal: str, lora_scale: float = 5.0) -> ExpertGenerator:
    torch.manual_seed(0)
    config = EditorConfig(
        hidden_size=D, layer=0, module_dim=M, rank=R, queries=2, heads=2, lora_scale=lora_scale,
        sentinel_tokens=4, generator_signal=signal, max_answer_tokens=6,
    )  # fmt: skip
    return ExpertGenerator(config).eval().requires_grad_(False)


def inputs(B: int = 2, T: int = 7) -> GeneratorInput:
    random = torch.Generator().manual_seed(3)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[1, :2] = False
    order = torch.zeros(B, T, dtype=torch.long)
    order[:, 4:] = torch.tensor([1, 2, 3])
    following = torch.randn(B, T, D, generator=random) * (order > 0)[..., None]
    return GeneratorInput(torch.randn(B, T, D, generator=random), mask, following, order)


def layer_norm(module: torch.nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + module.eps)
    return scaled * module.weight.double().numpy() + module.bias.double().numpy()


def half_by_hand(half: _Half, given: GeneratorInput, row: int, lora_scale: float) -> np.ndarray:
    """One matrix of one edit: scaled cross attention of the r queries over what may be seen."""
    seen = given.mask[row].numpy()
    keys = layer_norm(half.layer_norm, given.states[row].double().numpy())
    if half.reads_tokens:
        known = (given.order[row] > 0).numpy()[:, None]
        tokens = np.where(known, layer_norm(half.token_norm, given.following[row].double().numpy()), 0.0)
        keys = np.concatenate([keys, tokens, half.order.weight[given.order[row]].double().numpy()], axis=1)
    keys = keys[seen]
    w = {name: value.double().numpy() for name, value in half.attention.state_dict().items()}
    q = half.queries[0].double().numpy() @ w["q_mlp.weight"].T + w["q_mlp.bias"]
    k, v = (keys @ w[f"{n}_mlp.weight"].T + w[f"{n}_mlp.bias"] for n in "kv")
    out = []
    for qh, kh, vh in zip(*(np.split(x, half.attention.heads, axis=1) for x in (q, k, v)), strict=True):
        scores = np.exp(qh @ kh.T / math.sqrt(qh.shape[1]))
        out.append(scores / scores.sum(1, keepdims=True) @ vh)
    return np.concatenate(out, axis=1) / (lora_scale * math.sqrt(R))


@pytest.mark.parametrize("signal", ["states", "states+tokens"])
@pytest.mark.parametrize("lora_scale", [1.0, 5.0])
def test_both_matrices_equal_the_formula(signal: str, lora_scale: float) -> None:
    generator, given = build(signal, lora_scale), inputs()
    U, V = generator(given)
    assert U.shape == V.shape == (2, R, D)
    for row in range(2):
        assert np.allclose(U[row].numpy(), half_by_hand(generator.u, given, row, lora_scale), atol=1e-5)
        assert np.allclose(V[row].numpy(), half_by_hand(generator.v, given, row, lora_scale), atol=1e-5)
    assert not torch.allclose(U, V, atol=1e-3)


def test_masked_positions_do_not_matter() -> None:
    generator, given = build("states+tokens"), inputs()
    before = generator(given)[0][1]
    given.states[1, :2] = 99.0
    assert torch.equal(generator(given)[0][1], before)


def test_the_paper_s_signal_ignores_tokens_and_order() -> None:
    generator, given = build("states"), inputs()
    before = generator(given)[0]
    given.following, given.order = given.following + 1, given.order.flip(1)
    assert torch.equal(generator(given)[0], before)


@pytest.mark.parametrize("what", ["following", "order"])
def test_ours_reads_tokens_and_their_order(what: str) -> None:
    generator, given = build("states+tokens"), inputs()
    before = generator(given)[0]
    if what == "following":
        given.following[:, 4:] = given.following[:, 4:].flip(1)
    else:
        given.order[:, 4:] = given.order[:, 4:].flip(1)
    assert not torch.allclose(generator(given)[0], before, atol=1e-4)


def test_each_query_begins_by_looking_at_its_own_place_of_the_answer() -> None:
    torch.manual_seed(0)
    config = EditorConfig(
        hidden_size=64, layer=0, module_dim=64, rank=4, queries=2, heads=4, sentinel_tokens=4,
        generator_signal="states+tokens", max_answer_tokens=6,
    )  # fmt: skip
    half = ExpertGenerator(config).u
    place = half.order.weight[1:5].detach()
    q, k = half.attention.q_mlp(half.queries[0, :4]), place @ half.attention.k_mlp.weight[:, -64:].T
    assert (q @ k.T).argmax(1).tolist() == [0, 1, 2, 3]
