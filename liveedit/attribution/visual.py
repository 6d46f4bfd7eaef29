"""Heatmaps of the visual regions that made the key visual feature phi (LiveEdit, Figure 6).

Perturbation at token level: around each position of the grid of visual tokens, the layer-l_e states of a
window receive Gaussian noise, and the score is how far phi turns away, 1 - cos(phi perturbed, phi clean),
averaged over the draws. Only the attention over the picture (CA_phi2) is run again, and a noisy token's
key and value do not depend on the window it lies in: one batch with a row per draw holds clean and noisy
tokens side by side, and each window is an attention mask that picks one of the two for every position.

This fits models whose visual tokens keep their place on a square grid (the LLaVA family); for the
others see :mod:`liveedit.attribution.pixel`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image
from torch.nn import functional as F

from liveedit.editors import LiveEdit
from liveedit.experts import FeatureExtractor
from liveedit.types import BackboneError, InputError

NOISE = 0.7
DRAWS = 10
SIDES = ("query", "edit")


def extractor_of(editor: LiveEdit, side: str) -> FeatureExtractor:
    """The input-side extractor for ``query``, the edit-side one for ``edit``."""
    if side not in SIDES:
        raise InputError(f"the side is {side!r}: choose {' or '.join(SIDES)}")
    return editor.modules.query_features if side == "query" else editor.modules.edit_features


def grid_side(tokens: int) -> int:
    """Side g of the square grid that ``tokens`` visual tokens make."""
    side = math.isqrt(tokens)
    if side * side != tokens or not tokens:
        raise BackboneError(
            f"this model's {tokens} visual tokens do not lie on a square grid: use the occlusion method"
        )
    return side


def window_side(grid: int) -> int:
    """Odd side of the perturbed window: 7 on a grid of 24 as in the authors' tool, in proportion else."""
    return max(3, round(grid * 7 / 24) // 2 * 2 + 1) if grid >= 3 else 1


def window_masks(grid: int) -> torch.Tensor:
    """Bool [g*g, g*g]: entry (p, t) says whether token t lies in the window of position p.

    At the border the window is moved inside rather than cut: a smaller window disturbs less, and the map
    would show a pale frame that says nothing about the picture.
    """
    reach = window_side(grid) // 2
    place = torch.arange(grid)
    near = (place.clamp(reach, grid - 1 - reach)[:, None] - place[None, :]).abs() <= reach
    return (near[:, None, :, None] & near[None, :, None, :]).reshape(grid * grid, grid * grid)


def min_max(scores: np.ndarray) -> np.ndarray:
    """Scores scaled to 0..1 as float32; a map without any contrast becomes zeros."""
    low, high = float(scores.min()), float(scores.max())
    if not high > low:
        return np.zeros(scores.shape, np.float32)
    return ((scores - low) / (high - low)).astype(np.float32)


@torch.no_grad()
def visual_feature_heatmaps(
    editor: LiveEdit,
    images: Sequence[Image],
    prompts: Sequence[str],
    side: str = "query",
    seed: int = 0,
    template: bool = True,
) -> list[np.ndarray]:
    """One heatmap [g, g] float32 in 0..1 per picture and prompt: which visual tokens made phi.

    ``side`` is ``"query"`` for the question's key visual feature, ``"edit"`` for an edit's. All pictures
    share one pass of the backbone up to layer l_e; the noise depends on ``seed`` and the picture's own
    states only, so a heatmap does not depend on the pictures beside it.
    """
    extractor = extractor_of(editor, side)
    if not images:
        return []
    states = editor.layer_states(images, prompts, template)
    grid = grid_side(states[0].vision.shape[0])
    asked = []
    keys = []
    for row in states:
        seen = torch.ones(1, row.prompt.shape[0], dtype=torch.bool, device=row.prompt.device)
        asked.append(extractor.attention_queries(row.prompt[None], seen))
        keys.append(_clean_and_noisy(row.vision, seed))
    return [min_max(row) for row in _scores(extractor, torch.stack(asked), torch.stack(keys), grid)]


def _clean_and_noisy(vision: torch.Tensor, seed: int) -> torch.Tensor:
    """[draws, 2N, d]: the states [N, d] themselves, then with noise of 0.7 of their standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(DRAWS, *vision.shape, generator=generator).to(vision)
    clean = vision.expand(DRAWS, -1, -1)
    return torch.cat([clean, clean + NOISE * vision.std() * noise], dim=1)


def _scores(extractor: FeatureExtractor, asked: torch.Tensor, keys: torch.Tensor, grid: int) -> np.ndarray:
    """1 - cos of phi per picture and position, mean over the draws: [P, g, g].

    ``asked`` [P, 1, k, d_m] are the queries of CA_phi2, ``keys`` [P, draws, 2N, d] clean and noisy tokens.
    """
    pictures, draws, _, _ = keys.shape
    k, positions = asked.shape[-2], grid * grid
    noisy = window_masks(grid).to(keys.device)
    # The last set of queries sees the clean tokens alone: phi itself, from the same batch.
    noisy = torch.cat([noisy, torch.zeros_like(noisy[:1])])
    mask = torch.cat([~noisy, noisy], dim=1).repeat_interleave(k, dim=0)
    queries = asked.expand(-1, draws, -1, -1).flatten(0, 1).repeat(1, positions + 1, 1)
    phi = extractor.visual(queries, keys.flatten(0, 1), mask.expand(pictures * draws, -1, -1))
    phi = phi.view(pictures, draws, positions + 1, -1)
    turned = 1.0 - F.cosine_similarity(phi[:, :, :positions], phi[:, :, positions:], dim=-1)
    return turned.mean(1).view(pictures, grid, grid).cpu().numpy()
