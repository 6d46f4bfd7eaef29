"""How well an attribution points, judged on pictures whose objects' pixels are known.

The pointing game (Zhang et al., arXiv 1608.00507) asks whether the hottest place lies on the object. Deletion
(Petsiuk et al., arXiv 1806.07421) needs no object: it asks how fast the target's score falls when the regions that
are said to matter most are removed first; the smaller the area under that curve, the better.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from liveedit.attribution.masking import MaskedPicture, mean_colour
from liveedit.attribution.methods import attribute, fits
from liveedit.attribution.result import Attribution
from liveedit.attribution.targets import TARGETS, Instance, Score, score_of
from liveedit.editors import LiveEdit
from liveedit.pictures import WHOLE, Region
from liveedit.types import Edit, Query
from liveedit.world.pointing import PointingCase

PATCHES = 8
STEPS = 8
LINEAR = ("occlusion", "ablation")
LEAST_FALL = 0.1  # in the unit of the target; where removing everything costs less, a curve would show noise


def hit(scores: np.ndarray, mask: NDArray[np.bool_], region: Region = WHOLE) -> float:
    """1 where the centre of the hottest cell of ``scores`` [h, w] lies on the ``mask`` [H, W]; ties share.

    The scores lie over the ``region`` of the mask's picture.
    """
    height, width = scores.shape
    left, top, right, bottom = region
    rows, columns = np.nonzero(scores == scores.max())
    y = ((top + (rows + 0.5) / height * (bottom - top)) * mask.shape[0]).astype(int)
    x = ((left + (columns + 0.5) / width * (right - left)) * mask.shape[1]).astype(int)
    return float(mask[y, x].mean())


def deletion_order(scores: np.ndarray) -> NDArray[np.int64]:
    """The 64 patches [8 x 8], numbered row by row, those that matter most first."""
    whole = torch.from_numpy(scores.astype(np.float32))[None, None]
    even = F.interpolate(whole, (PATCHES, PATCHES), mode="bilinear", align_corners=False, antialias=True)
    order: NDArray[np.int64] = np.argsort(-even.flatten().numpy(), kind="stable")
    return order


@torch.no_grad()
def deletion_areas(picture: MaskedPicture, score: Score, orders: Sequence[NDArray[np.int64]]) -> list[float] | None:
    """The area under the deletion curve of each order: 1 for a score that stays, 0 for one that falls at once.

    Scores count from that of the picture with everything removed (0) to that of the whole one (1); patches go in
    eight equal steps. None where removing everything hardly lowers the score: there is nothing to fall.
    """
    count = PATCHES * PATCHES
    masks = torch.ones(2 + len(orders) * (STEPS - 1), count, device=picture.clean.device)
    masks[1] = 0
    for number, order in enumerate(orders):
        for step in range(1, STEPS):
            masks[1 + number * (STEPS - 1) + step, order[: step * count // STEPS].tolist()] = 0
    values = torch.cat([score(picture.under(part.view(-1, PATCHES, PATCHES))) for part in masks.split(32)]).tolist()
    whole, gone = values[:2]
    if whole - gone < LEAST_FALL:
        return None
    areas = []
    for number in range(len(orders)):
        between = values[2 + number * (STEPS - 1) : 2 + (number + 1) * (STEPS - 1)]
        curve = [1.0, *((value - gone) / (whole - gone) for value in between), 0.0]
        # Trapezoids; a curve below zero or above one counts as it is.
        areas.append((sum(curve) - 0.5) / STEPS)
    return areas


def measure_case(
    editor: LiveEdit, case: PointingCase, methods: Sequence[str], targets: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """Edit one scene's question and measure each method for each target it fits on the very question that was edited.

    A row holds ``method``, ``target``, ``hit``, ``deletion`` and ``random`` (areas of :func:`deletion_areas`, None
    where there is no curve), ``forwards`` of the map and its ``seconds`` of processor time, in which other work on
    the machine does not count.
    """
    repository = editor.empty()
    (expert_id,) = editor.edit(repository, [Edit(case.picture, case.prompt, case.target)])
    query = Query(case.picture, case.prompt)
    base, edited = editor.answer(None, query), editor.answer(repository, query)
    instance = Instance(
        case.picture, case.prompt, repository=repository, expert_id=expert_id, base=base.tokens, edited=edited.tokens
    )
    removed = MaskedPicture(editor.backbone, case.picture, mean_colour(case.picture))
    rows: list[dict[str, Any]] = []
    known: dict[tuple[str, str], tuple[Attribution, float]] = {}
    for target in targets:
        if any(not getattr(instance, name) for name, _ in TARGETS[target].terms):
            continue  # an answer without a token has no log-probability to explain
        for method in methods:
            if fits(method, target):
                start = time.process_time()
                summed = _sum_of(known, method, target)
                if summed is None:
                    (explained,) = attribute(editor, [instance], method, target, seed)
                    summed = explained, time.process_time() - start
                known[method, target] = summed
        found = [one for (_, name), one in known.items() if name == target]
        shuffled = np.random.default_rng([seed, case.scene.seed, len(rows)]).permutation(PATCHES * PATCHES)
        orders = [*(deletion_order(one.scores) for one, _ in found), shuffled]
        areas = deletion_areas(removed, score_of(editor, instance, TARGETS[target]), orders)
        for number, (one, seconds) in enumerate(found):
            deletion, random = (areas[number], areas[-1]) if areas else (None, None)
            rows.append(
                {
                    "method": one.method,
                    "target": target,
                    "hit": hit(one.scores, case.mask, one.region),
                    "deletion": deletion,
                    "random": random,
                    "forwards": one.forwards,
                    "seconds": round(seconds, 4),
                }
            )
    return rows


def _sum_of(
    known: Mapping[tuple[str, str], tuple[Attribution, float]], method: str, target: str
) -> tuple[Attribution, float] | None:
    """The map of a target of several terms from those of its terms, where the method is linear in the score."""
    terms = TARGETS[target].terms
    if method not in LINEAR or len(terms) < 2 or any((method, name) not in known for name, _ in terms):
        return None
    parts = [(known[method, name][0], known[method, name][1], sign) for name, sign in terms]
    whole = Attribution(
        np.add.reduce([sign * one.scores for one, _, sign in parts]),
        method,
        target,
        sum(sign * one.value for one, _, sign in parts),
        sum(one.forwards for one, _, _ in parts),
        sum(one.seconds for one, _, _ in parts),
        parts[0][0].region,
    )
    return whole, sum(seconds for _, seconds, _ in parts)
