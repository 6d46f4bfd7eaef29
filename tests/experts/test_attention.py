"""Cross attention against float64 numpy, and its masks."""

from __future__ import annotations

import math

import numpy as np
import torch

from liveedit.experts.attention import CrossAttention


def plain(module: CrossAttention, queries: torch.Tensor, keys: torch.Tensor, seen: np.ndarray) -> np.ndarray:
    """One row: queries [n, q], keys [T, d], seen bool [n, T]. softmax(Q K^T / sqrt(head width)) V per head."""
    weight = {name: value.double().numpy() for name, value in module.state_dict().items()}
    q = queries.double().numpy() @ weight["q_mlp.weight"].T + weight["q_mlp.bias"]
    k = keys.double().numpy() @ weight["k_mlp.weight"].T + weight["k_mlp.bias"]
    v = keys.double().numpy() @ weight["v_mlp.weight"].T + weight["v_mlp.bias"]
    width = q.shape[1] // module.heads
    out = np.zeros_like(q)
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(q)):
            scores = [
                math.exp(q[i, part] @ k[t, part] / math.sqrt(width)) if seen[i, t] else 0.0 for t in range(len(k))
            ]
            total = sum(scores)
            if total:
                out[i, part] = sum(s / total * v[t, part] for t, s in enumerate(scores))
    return out


def example() -> tuple[CrossAttention, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return CrossAttention(6, 10, 12, 3), torch.randn(2, 4, 6), torch.randn(2, 7, 10)


@torch.no_grad()
def test_without_mask() -> None:
    module, queries, keys = example()
    got = module(queries, keys)
    for b in range(2):
        assert np.allclose(got[b].numpy(), plain(module, queries[b], keys[b], np.ones((4, 7), bool)), atol=1e-5)


@torch.no_grad()
def test_a_mask_per_row_and_a_mask_per_query() -> None:
    module, queries, keys = example()
    row = torch.rand(2, 7, generator=torch.Generator().manual_seed(1)) > 0.5
    each = torch.rand(2, 4, 7, generator=torch.Generator().manual_seed(2)) > 0.5
    by_row, by_query = module(queries, keys, row), module(queries, keys, each)
    for b in range(2):
        assert np.allclose(
            by_row[b].numpy(), plain(module, queries[b], keys[b], np.tile(row[b].numpy(), (4, 1))), atol=1e-5
        )
        assert np.allclose(by_query[b].numpy(), plain(module, queries[b], keys[b], each[b].numpy()), atol=1e-5)


@torch.no_grad()
def test_hidden_keys_do_not_matter() -> None:
    module, queries, keys = example()
    mask = torch.tensor([[True, True, False, False, True, True, True]] * 2)
    changed = keys.clone()
    changed[:, 2:4] = 1e4
    assert torch.equal(module(queries, keys, mask), module(queries, changed, mask))


@torch.no_grad()
def test_a_row_that_sees_nothing_gives_zeros() -> None:
    module, queries, keys = example()
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1] = False
    got = module(queries, keys, mask)
    assert torch.equal(got[1], torch.zeros_like(got[1]))
    assert torch.allclose(got[0], module(queries, keys)[0], atol=1e-6)


@torch.no_grad()
def test_one_block_of_queries_serves_the_whole_batch() -> None:
    module, queries, keys = example()
    assert torch.allclose(module(queries[:1], keys)[1], module(queries[:1].repeat(2, 1, 1), keys)[1], atol=1e-6)


@torch.no_grad()
def test_one_block_of_keys_serves_every_block_of_queries() -> None:
    module, queries, keys = example()
    assert torch.allclose(module(queries, keys[:1])[1], module(queries, keys[:1].repeat(2, 1, 1))[1], atol=1e-6)
