"""Noise on the states of visual tokens: which of them made a target of routing features (LiveEdit, Figure 6).

Around each position of the grid of visual tokens, the layer-l_e states of a window receive Gaussian noise, and
the score is what the target loses, averaged over the draws; of the key visual feature phi that is
1 - cos(phi perturbed, phi clean). Only the attention over the picture (CA_phi2) is run again, and a noisy token's
key and value do not depend on the window it lies in: one batch with a row per draw holds clean and noisy
tokens side by side, and each window is an attention mask that picks one of the two for every position.

This fits models whose visual tokens lie on a grid over the picture (see :mod:`liveedit.attribution.places`); for
the others see :mod:`liveedit.attribution.pixel`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from liveedit.attribution.places import TokenGrid, token_grid
from liveedit.attribution.targets import FeatureFunction, Instance, check_side
from liveedit.editors import LiveEdit
from liveedit.experts import FeatureExtractor
from liveedit.pictures import Region

NOISE = 0.7
DRAWS = 10


def extractor_of(editor: LiveEdit, side: str) -> FeatureExtractor:
    """The input-side extractor for ``query``, the edit-side one for ``edit``."""
    check_side(side)
    return editor.modules.query_features if side == "query" else editor.modules.edit_features


def window_side(grid: int) -> int:
    """Odd side of the perturbed window along ``grid`` tokens: 7 of 24 as in the authors' tool, in proportion else."""
    return max(3, round(grid * 7 / 24) // 2 * 2 + 1) if grid >= 3 else 1


def window_masks(rows: int, columns: int) -> torch.Tensor:
    """Bool [rows * columns, rows * columns]: entry (p, t) says whether token t lies in the window of position p.

    At the border the window is moved inside rather than cut: a smaller window disturbs less, and the map
    would show a pale frame that says nothing about the picture.
    """
    down, across = (_near(count) for count in (rows, columns))
    return (down[:, None, :, None] & across[None, :, None, :]).reshape(rows * columns, rows * columns)


def _near(count: int) -> torch.Tensor:
    """Bool [count, count]: whether the second of two places along a side lies in the window of the first."""
    reach, place = window_side(count) // 2, torch.arange(count)
    return (place.clamp(reach, count - 1 - reach)[:, None] - place[None, :]).abs() <= reach


@torch.no_grad()
def token_noise(
    editor: LiveEdit, instances: Sequence[Instance], functions: Sequence[FeatureFunction], seed: int = 0
) -> list[tuple[np.ndarray, Region, float]]:
    """For each instance the scores [h, w] float32 over a region, and its function of routing features as it is.

    All pictures of one side share one pass of the backbone up to layer l_e; the noise depends on ``seed`` and the
    picture's own states only, so a map does not depend on the pictures beside it. Raises :class:`BackboneError` where
    a picture's visual tokens do not lie on a grid.
    """
    grids = {size: token_grid(editor.backbone, size) for size in {instance.image.size for instance in instances}}
    found: dict[int, tuple[np.ndarray, Region, float]] = {}
    for side in dict.fromkeys(instance.side for instance in instances):
        extractor = extractor_of(editor, side)
        rows = [number for number, instance in enumerate(instances) if instance.side == side]
        for template in dict.fromkeys(instances[number].template for number in rows):
            part = [number for number in rows if instances[number].template == template]
            images, prompts = [instances[n].image for n in part], [instances[n].prompt for n in part]
            for number, row in zip(part, editor.layer_states(images, prompts, template), strict=True):
                seen = torch.ones(1, row.prompt.shape[0], dtype=torch.bool, device=row.prompt.device)
                asked = extractor.attention_queries(row.prompt[None], seen)
                keys = _clean_and_noisy(row.vision, seed)
                grid = grids[instances[number].image.size]
                scores, value = _scores(extractor, asked, keys, functions[number], grid)
                found[number] = scores[grid.shown], grid.region, value
    return [found[number] for number in range(len(instances))]


def _clean_and_noisy(vision: torch.Tensor, seed: int) -> torch.Tensor:
    """[draws, 2N, d]: the states [N, d] themselves, then with noise of 0.7 of their standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(DRAWS, *vision.shape, generator=generator).to(vision)
    clean = vision.expand(DRAWS, -1, -1)
    return torch.cat([clean, clean + NOISE * vision.std() * noise], dim=1)


def _scores(
    extractor: FeatureExtractor, asked: torch.Tensor, keys: torch.Tensor, function: FeatureFunction, grid: TokenGrid
) -> tuple[np.ndarray, float]:
    """What the function loses at each position of the grid, mean over the draws, and its value on the clean tokens.

    ``asked`` [1, k, d_m] are the queries of CA_phi2, ``keys`` [draws, 2N, d] clean and noisy tokens.
    """
    draws, k, positions = keys.shape[0], asked.shape[-2], grid.rows * grid.columns
    noisy = window_masks(grid.rows, grid.columns).to(keys.device)
    # The last set of queries sees the clean tokens alone: phi itself, from the same batch.
    noisy = torch.cat([noisy, torch.zeros_like(noisy[:1])])
    mask = torch.cat([~noisy, noisy], dim=1).repeat_interleave(k, dim=0)
    queries = asked.expand(draws, -1, -1).repeat(1, positions + 1, 1)
    phi = extractor.visual(queries, keys, mask.expand(draws, -1, -1)).unflatten(1, (positions + 1, k))
    clean = phi[:, positions:]
    threshold = extractor.threshold_feature(asked) if extractor.sentinel is not None else asked
    perturbed = phi[:, :positions].flatten(0, 1)
    lost = function(clean.flatten(0, 1), clean.flatten(0, 1), threshold)[:, None] - function(
        perturbed, clean.expand(-1, positions, -1, -1).flatten(0, 1), threshold
    ).view(draws, positions)
    value = function(clean[0], clean[0], threshold)
    return lost.mean(0).view(grid.rows, grid.columns).cpu().numpy(), float(value[0])
