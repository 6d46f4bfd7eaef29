"""The page's sentences that are computed: which model, whether an edit took, why nothing passed."""

from __future__ import annotations

from pathlib import Path

from liveedit.backbones import Backbone
from liveedit.types import ExpertTrace
from liveedit.ui.markup import distance, number, quoted
from liveedit.ui.session import Asked, Session

EMOJI_ABILITY = (
    "It knows pictures of one to four emoji, flags and facts about them, and ten kinds of small photographs; "
    "anything else it can only guess."
)
OTHER_ABILITY = "A pretrained model: ask about any picture."


def describe_model(backbone: Backbone) -> tuple[str, str]:
    """Which model answers, and what it can do."""
    count = sum(p.numel() for p in backbone.model.parameters())
    size = f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"
    name = Path(backbone.name).name
    if name.startswith("emoji-llava"):
        return f"Emoji world model, {size} parameters, trained from scratch", EMOJI_ABILITY
    return f"{name}, {size} parameters", OTHER_ABILITY


def same(left: str, right: str) -> bool:
    """Whether two answers say the same, apart from case, spaces and a final full stop."""
    return _plain(left) == _plain(right)


def verdict(session: Session) -> tuple[bool, str]:
    """Whether the latest edit took, and the sentence that says so (empty when there is nothing to check)."""
    asked, expert_id = session.asked, session.latest
    if asked is None or expert_id is None:
        return False, ""
    target = session.repository.get(expert_id).edit.target
    said = asked.edited.text
    if same(said, target):
        if same(asked.base.text, target):
            return True, f"The model said {quoted(target)} before the edit already, and still does."
        return True, f"The edit took: the model now answers {quoted(said)}."
    row = next((r for r in asked.trace.experts if r.expert_id == expert_id), None)
    return False, f"It did not take: the model answers {quoted(said)}, {_cause(session, asked, row)}."


def _cause(session: Session, asked: Asked, row: ExpertTrace | None) -> str:
    """Why an edit's answer was not said, from the trace."""
    if row is None:
        return "and the edit was not routed"
    if not row.passed:
        return f"because the edit stopped at the hard filter by {distance(row.margin)}"
    others = [r for r in asked.trace.passed if r.expert_id != row.expert_id]
    if others and others[0].weight > row.weight:
        return (
            f"because {session.name(others[0].expert_id)} weighs more ({number(others[0].weight)}) "
            f"than this edit ({number(row.weight)})"
        )
    if row.weight < 0.5:
        return f"because soft routing gave the edit a weight of only {number(row.weight)}"
    return (
        f"although the edit was routed with weight {number(row.weight)}: "
        "its expert was not strong enough to say the whole answer"
    )


def why(session: Session) -> str:
    """One or two sentences that sum up the routing of the last question."""
    asked = session.asked
    if asked is None:
        return "Ask a question, and this part shows which edits were routed and why."
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


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".").strip()
