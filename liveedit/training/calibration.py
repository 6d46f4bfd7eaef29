"""Setting hard routing's threshold when training is over.

Met by a large crowd of remembered edits, which keeps look-alikes apart, the sentinel learns a threshold that is strict for
an edit's own rewordings and drawings. How strict it is can be said afterwards, by one number for all questions.
"""

from __future__ import annotations

import torch

from liveedit.experts.modules import LiveEditModules
from liveedit.experts.routing import pair_similarity
from liveedit.training.state_cache import StateCache

AT_ONCE = 192


@torch.no_grad()
def slack_needed(modules: LiveEditModules, cache: StateCache, device: torch.device) -> torch.Tensor:
    """By how much each cached case's reworded question about its redrawn picture misses its own edit, [cases].

    Negative where the edit passes anyway.
    """
    edit, query = modules.edit_features, modules.query_features
    found = []
    for start in range(0, len(cache), AT_ONCE):
        chosen = list(range(start, min(start + AT_ONCE, len(cache))))
        _, vision, seen, prompt, mask = cache.batch(chosen, device)
        own, again = slice(0, len(chosen)), slice(len(chosen), 2 * len(chosen))
        shown = [(vision[rows], None if seen is None else seen[rows]) for rows in (own, again)]
        phi = edit.visual(edit.attention_queries(prompt[own], mask[own]), *shown[0])
        asked = query.attention_queries(prompt[again], mask[again])
        visual = query.visual(asked, *shown[1])
        found.append(pair_similarity(visual, query.threshold_feature(asked)) - pair_similarity(visual, phi))
    return torch.cat(found).cpu()


def calibrated_slack(modules: LiveEditModules, cache: StateCache, share: float, device: torch.device) -> float:
    """The least slack with which ``share`` (0..1) of the cached cases find their own edit; it may be negative."""
    return round(float(slack_needed(modules, cache, device).quantile(share)), 4)
