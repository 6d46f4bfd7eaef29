"""The page's sentences that are computed: which model, what routing decided."""

from __future__ import annotations

from pathlib import Path

from liveedit.backbones import Backbone
from liveedit.ui.markup import distance, number
from liveedit.ui.session import Asked, Session

EMOJI_ABILITY = (
    "It knows pictures of one to four emoji, flags and facts about them, and ten kinds of small photographs; "
    "anything else it can only guess."
)
NONE_PASSED = "No edit passed the hard filter, so the answer is the unedited model's."
OTHER_ABILITY = "A pretrained model: ask about any picture."


def describe_model(backbone: Backbone) -> tuple[str, str]:
    """Which model answers, and what it can do."""
    count = sum(p.numel() for p in backbone.model.parameters())
    size = f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"
    name = Path(backbone.name).name
    if name.startswith("emoji-llava"):
        return f"Emoji world model, {size} parameters, trained from scratch", EMOJI_ABILITY
    return f"{name}, {size} parameters", OTHER_ABILITY


def why(session: Session) -> str:
    """One or two sentences that sum up the routing of the last question."""
    asked = session.asked
    if asked is None:
        return "Ask a question, and this part shows which edits were routed and why."
    if asked.past is not None:
        return f"When this was asked: {asked.reason}" if asked.reason else _why_then(session, asked)
    if asked.reason:
        return asked.reason
    count, passed = len(asked.trace.experts), asked.trace.passed
    if passed:
        first = passed[0]
        if len(passed) == 1:
            among = "" if count == 1 else f", the only one of {count}"
            return f"{session.name(first.expert_id)} passed the hard filter{among}, and weighs {number(first.weight)}."
        return (
            f"{len(passed)} of {count} edits passed the hard filter; "
            f"{session.name(first.expert_id)} weighs most, {number(first.weight)}."
        )
    active = [r for r in asked.trace.experts if r.active]
    if not active:
        return NONE_PASSED
    nearest = max(active, key=lambda r: r.margin)
    if len(active) == 1:
        return (
            f"{session.name(nearest.expert_id)} was stopped at the hard filter by {distance(nearest.margin)}, "
            "so the answer is the unedited model's."
        )
    return (
        f"No edit passed the hard filter: the nearest, {session.name(nearest.expert_id)}, was stopped by "
        f"{distance(nearest.margin)}. So the answer is the unedited model's."
    )


def _why_then(session: Session, asked: Asked) -> str:
    """The same of a question that was answered under other edits; of those that are gone not even the name is left."""
    if not asked.passed:
        return NONE_PASSED
    among = "" if asked.count is None else f" of {asked.count}"
    edits = "edit" if (asked.count or asked.passed) == 1 else "edits"
    said = f"When this was asked, {asked.passed}{among} {edits} passed the hard filter"
    left = asked.trace.passed
    if not left:
        return f"{said}; what weighed most is gone."
    return f"{said}; of those that are left {session.name(left[0].expert_id)} weighed most, {number(left[0].weight)}."
