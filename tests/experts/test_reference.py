"""The authors' editor from its checkpoint, against the released formulas written out in float64 on the raw tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liveedit.experts import ReferenceEditor, ReferenceExpert, ReferenceTrace, load_reference
from liveedit.types import EditorError

Make = Callable[..., dict[str, Any]]
Weights = dict[str, torch.Tensor]

SIZES = {"d": 32, "d_m": 16, "r": 3, "k": 2, "n_v": 5}


def layer_norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}weight"].double().numpy() + w[f"{name}bias"].double().numpy()


def attention(w: Weights, name: str, queries: np.ndarray, keys: np.ndarray, heads: int) -> np.ndarray:
    """Per head: softmax(q k^T / sqrt(head width)) v; the heads lie side by side, and nothing is projected after."""

    def linear(part: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{name}.{part}.weight"].double().numpy().T + w[f"{name}.{part}.bias"].double().numpy()

    q, k, v = linear("q_mlp", queries), linear("k_mlp", keys), linear("v_mlp", keys)
    width = q.shape[1] // heads
    out = np.empty_like(q)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[:, part] @ k[:, part].T / math.sqrt(width)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        out[:, part] = shares / shares.sum(1, keepdims=True) @ v[:, part]
    return out


def visual_feature(w: Weights, vision: np.ndarray, prompt: np.ndarray, heads: int) -> np.ndarray:
    """CA_phi2(CA_phi1(phi, h_p), h_v), one LayerNorm for both."""
    queries = w["eqe1"][0].double().numpy()
    asked = attention(w, "ca_query_info_ext1", queries, layer_norm(w, "layer_norm1.", prompt), heads)
    return attention(w, "ca_vision_info_ext", asked, layer_norm(w, "layer_norm1.", vision), heads)


def prompt_feature(w: Weights, prompt: np.ndarray, heads: int) -> np.ndarray:
    queries = w["eqe2"][0].double().numpy()
    return attention(w, "ca_query_info_ext2", queries, layer_norm(w, "layer_norm2.", prompt), heads)


def low_rank(w: Weights, states: np.ndarray, heads: int, lora_scale: float) -> np.ndarray:
    queries = w["phi"][0].double().numpy()
    made = attention(w, "ca_lora", queries, layer_norm(w, "layer_norm.", states), heads)
    return made / (lora_scale * math.sqrt(len(queries)))


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the k queries of the inner product, over sqrt(d_m)."""
    return float(np.mean([x @ y for x, y in zip(a, b, strict=True)]) / math.sqrt(a.shape[1]))


def states(seed: int, count: int, d: int) -> torch.Tensor:
    return torch.randn(count, d, generator=torch.Generator().manual_seed(seed))


def close(got: torch.Tensor, wanted: np.ndarray | float | list[float]) -> bool:
    return got.dtype == torch.float32 and np.allclose(got.double().numpy(), wanted, rtol=0, atol=1e-5)


def loaded(make: Make, folder: Path, **sizes: int) -> ReferenceEditor:
    torch.save(make(**{**SIZES, **sizes}), folder / "checkpoint")
    return load_reference(folder / "checkpoint", heads=4)


def some_experts(editor: ReferenceEditor, count: int = 3) -> list[ReferenceExpert]:
    d = editor.config.hidden_size
    return [
        editor.encode_edit(states(10 * n, 6, d), states(10 * n + 1, 4, d), states(10 * n + 2, 2, d))
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("heads", "lora_scale", "tokens", "sizes"),
    [
        (1, 5.0, 7, {"d": 12, "d_m": 6, "r": 2, "k": 3, "n_v": 5}),
        (4, 2.0, 7, {"d": 32, "d_m": 16, "r": 4, "k": 2, "n_v": 9}),
        (8, 5.0, 7, {"d": 64, "d_m": 40, "r": 5, "k": 1, "n_v": 16}),
        (8, 5.0, 7, {"d": 256, "d_m": 128, "r": 4, "k": 4, "n_v": 64}),
        # The paper's d_m and k, with similarities near 50, which sums in float32 miss by more than 1e-5.
        (8, 5.0, 64, {"d": 1024, "d_m": 1024, "r": 4, "k": 4, "n_v": 64, "apart": 0.005, "loud": 2.2}),
    ],
)
def test_everything_equals_the_released_formulas(
    heads: int, lora_scale: float, tokens: int, sizes: dict[str, Any], released_checkpoint: Make, tmp_path: Path
) -> None:
    content, d = released_checkpoint(**sizes, seed=heads), sizes["d"]
    torch.save(content, tmp_path / "checkpoint")
    editor = load_reference(tmp_path / "checkpoint", heads, lora_scale)
    w = content["train_modules"]
    experts, by_hand = [], []
    for n in range(6):
        parts = (states(10 * n, tokens, d), states(10 * n + 1, 3 + n, d), states(10 * n + 2, 1 + n, d))
        vision, prompt, answer = (part.double().numpy() for part in parts)
        read = np.concatenate([vision, prompt, answer])
        wanted = (
            visual_feature(w["edit_extractor"], vision, prompt, heads),
            prompt_feature(w["edit_extractor"], prompt, heads),
            low_rank(w["moegen_c"], read, heads, lora_scale),
            low_rank(w["moegen_r"], read, heads, lora_scale),
        )
        got = editor.encode_edit(*parts)
        assert [tuple(t.shape) for t in got] == [(sizes["k"], sizes["d_m"])] * 2 + [(sizes["r"], d)] * 2
        assert all(close(g, v) for g, v in zip(got, wanted, strict=True))
        experts.append(got)
        by_hand.append(wanted)
    passed, largest = 0, 0.0
    for n in range(4):
        # A picture that resembles the one of edit n, under another prompt.
        vision, prompt, hidden = (
            states(10 * n, tokens, d) + 0.3 * states(100 + n, tokens, d),
            states(200 + n, 4, d),
            states(300 + n, 9, d),
        )
        v, p, h = (part.double().numpy() for part in (vision, prompt, hidden))
        seen, said = visual_feature(w["inpt_extractor"], v, p, heads), prompt_feature(w["inpt_extractor"], p, heads)
        sentinel = w["inpt_extractor"]["vis_rep_prot"][0].double().numpy()
        threshold = similarity(seen, visual_feature(w["inpt_extractor"], sentinel, p, heads))
        visual = [similarity(seen, phi) for phi, _, _, _ in by_hand]
        meaning = [similarity(said, psi) for _, psi, _, _ in by_hand]
        kept = [e for e in range(6) if visual[e] > threshold]
        total = sum(math.exp(meaning[e]) for e in kept)
        absolute = [1 / (1 + math.exp(-m)) for m in meaning]
        relative = [math.exp(meaning[e]) / total if e in kept else 0.0 for e in range(6)]
        weight = [a * s for a, s in zip(absolute, relative, strict=True)]
        normed = layer_norm(w["instant_reps_norm"], "", h)
        residual = np.zeros_like(h)
        for e in kept:
            _, _, U, V = by_hand[e]
            residual += weight[e] * np.maximum(normed @ U.T, 0) @ V

        trace = editor.route(vision, prompt, experts)
        assert trace.passed == [e in kept for e in range(6)]
        assert close(trace.visual_similarity, visual)
        assert close(trace.threshold, threshold)
        assert close(trace.margin, [x - threshold for x in visual])
        assert close(trace.prompt_similarity, meaning)
        assert close(trace.absolute, absolute)
        assert close(trace.relative, relative)
        assert close(trace.weight, weight)
        assert close(editor.residual(hidden, trace, experts), residual)
        assert close(editor.edited(hidden, trace, experts), h + residual)
        passed, largest = passed + len(kept), max(largest, threshold, *visual)
    assert 0 < passed < 24, "the example must have experts on both sides of the threshold"
    assert largest > 50 or d < 1024


def test_no_experts_add_nothing(released_checkpoint: Make, tmp_path: Path) -> None:
    editor = loaded(released_checkpoint, tmp_path)
    trace = editor.route(states(0, 5, 32), states(1, 4, 32), [])
    assert trace.passed == [] and trace.weight.shape == (0,)
    hidden = states(2, 6, 32)
    assert torch.equal(editor.residual(hidden, trace, []), torch.zeros(6, 32))
    assert torch.equal(editor.edited(hidden, trace, []), hidden)


def moved(editor: ReferenceEditor, expert: ReferenceExpert, margin: float) -> tuple[ReferenceExpert, ReferenceTrace]:
    """The expert with its visual feature stretched so that a fixed question's margin is ``margin``, and the trace."""
    vision, prompt = states(0, 5, 32), states(1, 4, 32)
    before = editor.route(vision, prompt, [expert])
    phi = expert[0] * (before.threshold + margin) / before.visual_similarity
    stretched = (phi, *expert[1:])
    return stretched, editor.route(vision, prompt, [stretched])


def test_an_expert_below_the_threshold_adds_nothing_and_one_above_does(
    released_checkpoint: Make, tmp_path: Path
) -> None:
    editor = loaded(released_checkpoint, tmp_path)
    expert, hidden = some_experts(editor, 1)[0], states(2, 6, 32)
    below, trace = moved(editor, expert, -0.01)
    assert trace.passed == [False]
    assert (trace.relative.item(), trace.weight.item()) == (0.0, 0.0)
    assert torch.equal(editor.residual(hidden, trace, [below]), torch.zeros(6, 32))
    above, trace = moved(editor, expert, 0.01)
    assert trace.passed == [True]
    assert trace.relative.item() == 1.0
    assert editor.residual(hidden, trace, [above]).abs().max() > 1e-3


def test_states_of_lower_precision_are_taken_and_kept(released_checkpoint: Make, tmp_path: Path) -> None:
    editor = loaded(released_checkpoint, tmp_path)
    expert, hidden = some_experts(editor, 1)[0], states(2, 6, 32).bfloat16()
    above, trace = moved(editor, expert, 0.5)
    assert editor.residual(hidden, trace, [above]).dtype == torch.float32
    assert torch.equal(editor.residual(hidden, trace, [above]), editor.residual(hidden.float(), trace, [above]))
    assert editor.edited(hidden, trace, [above]).dtype == torch.bfloat16


def test_what_does_not_fit_is_refused(released_checkpoint: Make, tmp_path: Path) -> None:
    editor = loaded(released_checkpoint, tmp_path)
    vision, prompt, experts = states(0, 5, 32), states(1, 4, 32), some_experts(editor)
    with pytest.raises(EditorError, match=r"prompt has shape \[4, 30\]"):
        editor.encode_edit(vision, prompt[:, :30], prompt)
    with pytest.raises(EditorError, match="vision has shape"):
        editor.route(vision[None], prompt, experts)
    with pytest.raises(EditorError, match="U of expert 1 has shape"):
        editor.route(vision, prompt, [experts[0], (*experts[1][:2], experts[1][2][:1], experts[1][3])])
    with pytest.raises(EditorError, match="trace is of 3 experts"):
        editor.residual(prompt, editor.route(vision, prompt, experts), experts[:2])
