"""Setting hard routing's threshold when training is over.

Met by a large crowd of remembered edits, which keeps look-alikes apart, the sentinel learns a threshold that is strict for
an edit's own rewordings and drawings. How strict it is can be said afterwards, by one number for all questions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from liveedit.experts.modules import LiveEditModules
from liveedit.experts.routing import pair_similarity
from liveedit.training.state_cache import StateCache


@torch.no_grad()
def slack_needed(modules: LiveEditModules, cache: StateCache, device: torch.device) -> torch.Tensor:
    """By how much each cached case's reworded question about its redrawn picture misses its own edit, [cases].

    Negative where the edit passes anyway.
    """
    edit, query = modules.edit_features, modules.query_features
    count = len(cache)
    _, vision, seen, prompt, mask = cache.batch(list(range(count)), device)
    own, again = slice(0, count), slice(count, 2 * count)
    shown = [(vision[rows], None if seen is None else seen[rows]) for rows in (own, again)]
    phi = edit.visual(edit.attention_queries(prompt[own], mask[own]), *shown[0])
    asked = query.attention_queries(prompt[again], mask[again])
    visual = query.visual(asked, *shown[1])
    return (pair_similarity(visual, query.threshold_feature(asked)) - pair_similarity(visual, phi)).cpu()


def calibrated_slack(
    modules: LiveEditModules, caches: Iterable[StateCache], share: float, device: torch.device
) -> float:
    """The least slack with which ``share`` (0..1) of the cases find their own edit; it may be negative.

    ``caches`` hold a few of the cases each and are looked at one by one, so that they need not fit in memory together.
    """
    needed = torch.cat([slack_needed(modules, cache, device) for cache in caches])
    return round(float(needed.quantile(share)), 4)
