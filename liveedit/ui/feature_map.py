"""A map of the edits' routing features with the question among them: two planes of principal components.

Features of k * d_m numbers are laid on the plane in which they spread most (PCA). It is a picture of the
neighbourhood, not of routing itself: routing compares inner products of the whole features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch

from liveedit.experts.repository import Expert
from liveedit.types import ExpertTrace
from liveedit.ui.markup import escape, number, shorten
from liveedit.ui.session import Session
from liveedit.ui.svg import Mark, scatter

MOST = 1000  # points drawn; of more edits those nearest to the question
QUESTION, SENTINEL = "Question", "Sentinel"
KINDS = {
    "question": "the question",
    "sentinel": "the sentinel, whose similarity makes the threshold",
    "passed": "edits that passed hard routing",
    "stopped": "edits that stopped",
    "off": "edits that are switched off",
    "unasked": "edits that no question was routed among, or of which nothing was kept",
}


@dataclass(frozen=True)
class Place:
    """One point of the map: what it is, whose edit (empty for question and sentinel), and where on both planes."""

    kind: str
    name: str
    expert_id: str
    visual: tuple[float, float] | None
    prompt: tuple[float, float] | None


def principal_plane(points: torch.Tensor) -> tuple[torch.Tensor, tuple[float, float]]:
    """Rows [N, D] in their first two principal components [N, 2], and the share of variance of each.

    Signs are fixed so that each component's largest entry is positive. Fewer than two dimensions of spread
    leave zeros.
    """
    centred = points.float() - points.float().mean(0)
    # The eigenvectors of the N x N Gram matrix give the same components as those of D x D, at a fraction of the cost.
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    total = float(values.clamp(min=0).sum())
    found = torch.zeros(len(points), 2)
    shares = [0.0, 0.0]
    for axis in range(min(2, len(points))):
        value, vector = float(values[-1 - axis]), vectors[:, -1 - axis]
        if total <= 0 or value <= 1e-6 * total:
            continue
        vector = vector * (1.0 if vector[vector.abs().argmax()] > 0 else -1.0)
        found[:, axis] = vector * value**0.5
        shares[axis] = value / total
    return found, (shares[0], shares[1])


@dataclass(frozen=True)
class FeatureMap:
    """The points, and the shares of variance that the two axes of each plane hold."""

    places: Sequence[Place]
    visual_shares: tuple[float, float]
    prompt_shares: tuple[float, float]
    left_out: int = 0


def feature_map(session: Session) -> FeatureMap | None:
    """The map of the session's edits and its last question, if that had a picture; None without edits."""
    if not len(session.repository):
        return None
    features = session.asked.features if session.asked else None
    traces = {row.expert_id: row for row in session.asked.trace.experts} if session.asked else {}
    experts = list(session.repository)
    # Those nearest to the question first: they are kept when there are too many to draw.
    experts.sort(key=lambda e: -traces[e.id].margin if e.id in traces else inf)
    kept = experts[:MOST]
    visual = [e.phi.flatten() for e in kept]
    prompt = [e.psi.flatten() for e in kept]
    if features is not None:
        visual += [features.visual.flatten(), features.threshold.flatten()]
        prompt += [features.prompt.flatten()]
    on_visual, visual_shares = principal_plane(torch.stack(visual))
    on_prompt, prompt_shares = principal_plane(torch.stack(prompt))
    places = [
        Place(_kind(e, traces.get(e.id)), session.name(e.id), e.id, _pair(on_visual[i]), _pair(on_prompt[i]))
        for i, e in enumerate(kept)
    ]
    if features is not None:
        places.append(Place("sentinel", SENTINEL, "", _pair(on_visual[-1]), None))
        places.append(Place("question", QUESTION, "", _pair(on_visual[-2]), _pair(on_prompt[-1])))
    return FeatureMap(places, visual_shares, prompt_shares, len(experts) - len(kept))


def map_html(session: Session) -> str:
    """Both planes side by side, the legend and the table that says the same."""
    found = feature_map(session)
    if found is None:
        return '<p class="empty">The map appears with the first edit.</p>'
    asked = "" if session.asked and session.asked.features is not None else (
        '<p class="hint">Ask a question with a picture, and it appears among the edits.</p>'
    )  # fmt: skip
    cut = f'<p class="hint">Only the {MOST:,} edits nearest to the question are drawn.</p>' if found.left_out else ""
    planes = "".join(
        _plane(session, found, which, title, shares)
        for which, title, shares in (
            ("visual", "Visual features φ", found.visual_shares),
            ("prompt", "Prompt features ψ", found.prompt_shares),
        )
    )
    present = {place.kind for place in found.places}
    legend = "".join(
        f'<li class="{kind}"><svg viewBox="-8 -8 16 16" aria-hidden="true">{Mark(0, 0, kind, "").drawn()}</svg>{text}</li>'
        for kind, text in KINDS.items()
        if kind in present
    )
    return f'{asked}{cut}<div class="planes">{planes}</div><ul class="map-legend">{legend}</ul>{_table(found)}'


def _plane(session: Session, found: FeatureMap, which: str, title: str, shares: tuple[float, float]) -> str:
    marks = []
    for place in found.places:
        at = getattr(place, which)
        if at is not None:
            words = place.name
            if place.expert_id:
                edit = session.repository.get(place.expert_id).edit if len(found.places) <= 200 else None
                words += f": {shorten(edit.prompt, 40)} → {shorten(edit.target, 30)}" if edit else ""
            marks.append(Mark(at[0], at[1], place.kind, words, place.expert_id))
    held = " and ".join(f"{100 * share:.0f} %" for share in shares)
    label = f"{title} of {len(found.places):,} points on their two principal components; the table below holds the same"
    return (
        f'<figure class="plane"><figcaption><b>{title}</b> <span>the two axes hold {held} of the spread</span></figcaption>'
        f"{scatter(marks, label)}</figure>"
    )


def _table(found: FeatureMap) -> str:
    """The same points as numbers."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(p.name)}</th><td>{p.kind}</td>{_cells(p.visual)}{_cells(p.prompt)}</tr>"
        for p in reversed(found.places)
    )
    heads = "".join(
        f'<th scope="col">{h}</th>' for h in ("Point", "Kind", "φ first", "φ second", "ψ first", "ψ second")
    )
    return (
        '<details class="twin"><summary>The map as a table</summary><div class="scroll" tabindex="0" role="region" '
        'aria-label="The map as a table"><table class="plain"><thead><tr>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _cells(at: tuple[float, float] | None) -> str:
    return "".join(f"<td>{number(value)}</td>" for value in at) if at else "<td>–</td><td>–</td>"


def _pair(row: torch.Tensor) -> tuple[float, float]:
    return float(row[0]), float(row[1])


def _kind(expert: Expert, row: ExpertTrace | None) -> str:
    # A question that was asked under other edits met those that were on then.
    if not (row or expert).active:
        return "off"
    if row is None:
        return "unasked"
    return "passed" if row.passed else "stopped"
