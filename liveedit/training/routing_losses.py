"""The routing losses of a batch of edits (Chen et al., CVPR 2025, Eqs. 12-16), on features alone."""

from __future__ import annotations

import random

import torch

from liveedit.config import EditorTrainingConfig
from liveedit.experts import similarity
from liveedit.losses import absolute_routing_loss, hard_routing_loss, relative_routing_loss
from liveedit.training.crowd import FeatureMemory
from liveedit.training.editor_samples import NEAR_MISS, SAME_PICTURE, Pairs

SAME_ROW = 0.125  # how often an edit is matched with the very row it was made on


def stand_ins(count: int, variants: int, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of an edit's ``variants`` rows (variant * count + edit) stands for it on either side, int [count] each.

    Mostly two different ones: that a row matches itself is soon learned, that another wording or another drawing
    of the picture does is what routing has to learn.
    """
    edit_side, input_side = [], []
    for edit in range(count):
        one = other = rng.randrange(variants)
        if variants > 1 and rng.random() >= SAME_ROW:
            other = (one + rng.randrange(1, variants)) % variants
        edit_side.append(one * count + edit)
        input_side.append(other * count + edit)
    return torch.tensor(edit_side), torch.tensor(input_side)


def routing_losses(
    config: EditorTrainingConfig,
    memory: FeatureMemory,
    pairs: Pairs,
    phi: torch.Tensor,
    psi: torch.Tensor,
    visual: torch.Tensor,
    threshold: torch.Tensor,
    prompt: torch.Tensor,
    rng: random.Random,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Eq. 12, a scalar, and figures for the curve; adds the batch's features to ``memory``.

    Features are [(G + 1) B, k, d_m], the last B of them locality rows; ``phi`` and ``psi`` are the edit side's,
    ``visual``, ``threshold`` and ``prompt`` the input side's. The G rows of an edit (itself and its generality
    samples) stand for it in turn, as :func:`stand_ins` draws them for the edit side and the input side. Of ``phi`` the locality
    rows are not used and may be missing. A loss that ``config`` switches off is measured and not trained.
    """
    count = len(pairs.contents)
    device = visual.device
    variants = len(visual) // count - 1
    edit_rows, query_rows = (rows.to(device) for rows in stand_ins(count, variants, rng))
    local = torch.arange(count, device=device) + variants * count
    unrelated = ~pairs.related
    experts, open_general, open_local = phi[edit_rows], unrelated[:count], unrelated[count:]
    if memory.features:
        experts = torch.cat([experts, torch.stack(memory.features)])
        open_general = torch.cat([open_general, memory.unrelated(pairs.contents).to(device)], 1)
        open_local = torch.cat([open_local, memory.unrelated(pairs.locality_contents).to(device)], 1)
    # A look-alike may share other objects with the edit's picture, and still is not the edit's business.
    own_near = torch.diag(pairs.locality_kind == NEAR_MISS)
    open_local = open_local.clone()
    open_local[:, :count] |= own_near
    hard = hard_routing_loss(
        visual[query_rows],
        threshold[query_rows],
        visual[local],
        threshold[local],
        experts,
        open_general,
        open_local,
    )
    memory.add(phi[:count], pairs.contents)
    own_psi = psi[edit_rows]
    asked = prompt[query_rows]
    to_candidates, allowed = similarity(asked, torch.cat([own_psi, psi[local]])), ~pairs.same_meaning[:count]
    own = similarity(asked, own_psi).diagonal()
    absolute = absolute_routing_loss(own, to_candidates, allowed)
    # What else is asked of the edited picture meets the edit's own prompt feature at inference.
    from_local = similarity(prompt[local], own_psi)
    elsewhere = ~pairs.same_meaning[count:, :count]
    absolute = absolute + (torch.nn.functional.softplus(from_local) * elsewhere).sum(1) / elsewhere.sum(1).clamp(min=1)
    same = (pairs.locality_kind == SAME_PICTURE) & elsewhere.diagonal()
    absolute = absolute + torch.nn.functional.softplus(from_local.diagonal()) * same
    rivals = count if config.relative_candidates == "B" else 2 * count
    relative = relative_routing_loss(own, to_candidates[:, :rivals], allowed[:, :rivals])
    total = hard
    if config.absolute_loss:
        total = total + absolute
    if config.relative_loss:
        total = total + relative
    with torch.no_grad():
        passed = similarity(visual[query_rows], experts) > (visual[query_rows] * threshold[query_rows]).sum(
            (-2, -1), keepdim=True
        )[..., 0] / (threshold.shape[-2] * threshold.shape[-1] ** 0.5)
        seen = {
            "hard": float(hard.mean()),
            "absolute": float(absolute.mean()),
            "relative": float(relative.mean()),
            "own_passed": float(passed[:, :count].diagonal().float().mean()),
            "others_passed": float((passed & open_general).float().sum(1).mean()),
            "crowd": float(experts.shape[0]),
        }
    return total.mean(), seen
