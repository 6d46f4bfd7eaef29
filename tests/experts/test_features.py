"""Feature extractors: phi reads the prompt, then the picture; psi the prompt; the sentinel stands for a picture."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from liveedit.config import EditorConfig
from liveedit.experts.attention import CrossAttention
from liveedit.experts.features import FeatureExtractor
from liveedit.types import ConfigError

CONFIG = EditorConfig(hidden_size=12, layer=0, module_dim=8, rank=2, queries=3, heads=2, sentinel_tokens=5)


def norm(module: torch.nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + module.eps)
    return scaled * module.weight.detach().double().numpy() + module.bias.detach().double().numpy()


def attend(module: CrossAttention, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Eq. 2 in its released form for one row, float64."""
    w = {name: value.double().numpy() for name, value in module.state_dict().items()}
    q, k, v = (x @ w[f"{n}_mlp.weight"].T + w[f"{n}_mlp.bias"] for n, x in (("q", queries), ("k", keys), ("v", keys)))
    heads = []
    for qh, kh, vh in zip(*(np.split(x, module.heads, axis=1) for x in (q, k, v)), strict=True):
        scores = np.exp(qh @ kh.T / math.sqrt(qh.shape[1]))
        heads.append(scores / scores.sum(1, keepdims=True) @ vh)
    return np.concatenate(heads, axis=1)


@pytest.fixture
def extractor() -> FeatureExtractor:
    torch.manual_seed(0)
    built = FeatureExtractor(CONFIG, sentinel=True)
    with torch.no_grad():
        for layer in (built.visual_norm, built.prompt_norm):
            layer.weight.normal_(1, 0.3)
            layer.bias.normal_(0, 0.3)
    return built.eval().requires_grad_(False)


def test_features_equal_the_formulas(extractor: FeatureExtractor) -> None:
    hidden = torch.randn(2, 9, 12)
    vision, prompt = torch.zeros(2, 9, dtype=torch.bool), torch.zeros(2, 9, dtype=torch.bool)
    vision[0, 1:5], prompt[0, 5:9] = True, True
    vision[1, 3:7], prompt[1, 7:9] = True, True
    asked = extractor.attention_queries(hidden, prompt)
    phi, psi = extractor.visual(asked, hidden, vision), extractor.meaning(hidden, prompt)
    theta = extractor.threshold_feature(asked)
    assert extractor.sentinel is not None
    for b in range(2):
        states = hidden[b].double().numpy()
        words, sight = states[prompt[b].numpy()], states[vision[b].numpy()]
        first = attend(
            extractor.read_prompt, extractor.visual_queries[0].double().numpy(), norm(extractor.visual_norm, words)
        )
        assert np.allclose(
            phi[b].numpy(), attend(extractor.read_vision, first, norm(extractor.visual_norm, sight)), atol=1e-5
        )
        stored = norm(extractor.visual_norm, extractor.sentinel[0].double().numpy())
        assert np.allclose(theta[b].numpy(), attend(extractor.read_vision, first, stored), atol=1e-5)
        queries = extractor.prompt_queries[0].double().numpy()
        assert np.allclose(
            psi[b].numpy(), attend(extractor.read_meaning, queries, norm(extractor.prompt_norm, words)), atol=1e-5
        )


def test_the_prompt_decides_what_is_looked_at(extractor: FeatureExtractor) -> None:
    hidden = torch.randn(1, 6, 12)
    vision = torch.tensor([[True] * 3 + [False] * 3])
    other = hidden.clone()
    other[:, 3:] += torch.randn(1, 3, 12) * 3
    one = extractor.visual(extractor.attention_queries(hidden, ~vision), hidden, vision)
    two = extractor.visual(extractor.attention_queries(other, ~vision), other, vision)
    assert not torch.allclose(one, two, atol=1e-3)


def test_the_edit_side_has_no_sentinel() -> None:
    edit_side = FeatureExtractor(CONFIG, sentinel=False)
    assert edit_side.sentinel is None
    with pytest.raises(RuntimeError, match="no sentinel"):
        edit_side.threshold_feature(torch.zeros(1, 3, 8))


@torch.no_grad()
def test_normed_visual_features_are_the_plain_ones_at_unit_mean_square() -> None:
    torch.manual_seed(0)
    plain = FeatureExtractor(CONFIG, sentinel=True)
    normed = FeatureExtractor(replace(CONFIG, visual_feature="normed"), sentinel=True)
    normed.load_state_dict(plain.state_dict())
    prompt, vision = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    asked = plain.attention_queries(prompt, torch.ones(2, 4, dtype=torch.bool))
    for name, arguments in (("visual", (asked, vision)), ("threshold_feature", (asked,))):
        before, after = (getattr(e, name)(*arguments).double().numpy() for e in (plain, normed))
        expected = before / np.sqrt((before**2).mean(-1, keepdims=True) + np.finfo(np.float32).eps)
        assert np.allclose(after, expected, atol=1e-5)


def test_an_unknown_kind_of_visual_feature_is_refused() -> None:
    with pytest.raises(ConfigError, match="visual_feature"):
        replace(CONFIG, visual_feature="unit")


@pytest.mark.parametrize("form", ["plain", "normed"])
def test_the_feature_of_a_whole_picture_is_the_mean_of_its_values(form: str) -> None:
    torch.manual_seed(3)
    built = FeatureExtractor(replace(CONFIG, visual_feature=form), sentinel=True).requires_grad_(False)
    hidden, vision = torch.randn(2, 7, 12), torch.zeros(2, 7, dtype=torch.bool)
    vision[0, :4], vision[1, 2:7] = True, True
    phi, theta = built.whole(hidden, vision), built.whole_threshold()
    assert built.sentinel is not None
    w = {name: value.double().numpy() for name, value in built.read_vision.state_dict().items()}
    pictures = [hidden[b][vision[b]] for b in range(2)] + [built.sentinel[0]]
    for got, picture in zip([*phi, theta[0]], pictures, strict=True):
        values = norm(built.visual_norm, picture.double().numpy()) @ w["v_mlp.weight"].T + w["v_mlp.bias"]
        wanted = values.mean(0)
        if form == "normed":
            wanted = wanted / np.sqrt((wanted**2).mean())
        assert got.shape == (3, 8)
        assert np.allclose(got.numpy(), np.tile(wanted, (3, 1)), atol=1e-4)
    with pytest.raises(RuntimeError, match="no sentinel"):
        FeatureExtractor(CONFIG, sentinel=False).whole_threshold()


@torch.no_grad()
def test_without_the_prompt_the_learned_queries_look_at_the_whole_picture() -> None:
    torch.manual_seed(4)
    built = FeatureExtractor(replace(CONFIG, whole_picture=True), sentinel=True)
    states, mask = torch.randn(2, 4, 12), torch.ones(2, 4, dtype=torch.bool)
    picture = torch.randn(2, 5, 12)
    phi = built.visual(built.attention_queries(states, mask), picture)
    queries = built.visual_queries[0].double().numpy()
    for b in range(2):
        seen = norm(built.visual_norm, picture[b].double().numpy())
        assert np.allclose(phi[b].numpy(), attend(built.read_vision, queries, seen), atol=1e-5)


def test_a_kept_sentinel_is_that_of_the_weights_of_the_moment(extractor: FeatureExtractor) -> None:
    asked = torch.randn(2, 3, 8)
    extractor.requires_grad_(False)

    def expected() -> torch.Tensor:
        assert extractor.sentinel is not None
        return extractor.visual(asked, extractor.sentinel)

    kept = extractor.threshold_feature(asked)
    assert torch.equal(kept, expected())
    other = FeatureExtractor(CONFIG, sentinel=True)
    extractor.load_state_dict(other.state_dict())
    assert torch.equal(extractor.threshold_feature(asked), expected())
    extractor.requires_grad_(True)
    extractor.threshold_feature(asked).sum().backward()
    assert extractor.sentinel is not None and extractor.sentinel.grad is not None
    # Behind the version's back, as some optimisers write.
    extractor.sentinel.data.add_(1.0)
    extractor.requires_grad_(False)
    assert torch.equal(extractor.threshold_feature(asked), expected())
    assert not torch.equal(extractor.threshold_feature(asked), kept)
