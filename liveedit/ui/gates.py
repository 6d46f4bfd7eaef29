"""The gates between an edit and an answer, in the order in which a question meets them, each with a sentence.

An edit acts on a question when it is switched on, the question has a picture, hard routing lets it pass (Eq. 5),
soft routing gives it weight (Eq. 7), and its residual is strong enough to change the words. Where one of these
fails, the sentence says by how much. Of a question that was asked under other edits, they are the gates as they were then.
"""

from __future__ import annotations

from dataclasses import dataclass

from liveedit.experts.likeness import given_way, same
from liveedit.types import ExpertTrace
from liveedit.ui.markup import distance, number, quoted
from liveedit.ui.session import Asked, Session

HALF = 0.5  # an expert with less than half the say does not lead the answer
NAMED = 3  # edits that a sentence names; of more it gives the number
ALONE = 0.9  # of the relative weight; with less, others have a say worth naming


@dataclass(frozen=True)
class Gate:
    """One gate: its name, whether the edit came through (None: it never got there), the numbers, and a sentence."""

    name: str
    open: bool | None
    short: str
    said: str = ""


NAMES = ("Switched on", "Picture in the question", "Hard routing", "Soft routing", "Answer")


def gates(session: Session, expert_id: str) -> tuple[Gate, ...]:
    """The five gates for one edit and the session's last question; all unknown where nothing is known of the two."""
    asked = session.asked
    expert, name = session.repository.get(expert_id), session.name(expert_id)
    if asked is None:
        return tuple(Gate(title, None, "no question yet") for title in NAMES)
    row = next((r for r in asked.trace.experts if r.expert_id == expert_id), None)
    if row is None and _forgotten(asked, expert_id):
        said = (
            f"Of this question only the edits that mattered most were kept, and {name} is not among them: "
            "ask again to see whether it acts."
        )
        return tuple(Gate(title, None, "not kept", said) for title in NAMES)
    took = same(asked.edited.text, expert.edit.target)
    found = [
        _switched((row or expert).active, name, row, asked.past is not None),
        _picture(asked),
        _hard(name, row),
        _soft(session, asked, name, row, took),
        _answer(asked, expert.edit.target, name, row),
    ]
    stopped = next((i for i, gate in enumerate(found) if gate.open is False), len(found))
    # What lies behind the gate that is shut was never reached.
    return tuple(gate if i <= stopped else Gate(gate.name, None, "not reached") for i, gate in enumerate(found))


def outcome(session: Session, expert_id: str) -> tuple[bool | None, str]:
    """Whether an edit made the last answer (None: not known), and the sentence that says so or where it stopped."""
    found = gates(session, expert_id)
    if found[0].open is None:
        return None, found[0].said or f"Ask a question to see whether {session.name(expert_id)} acts on it."
    shut = next((gate for gate in found if gate.open is False), None)
    return shut is None, (shut or found[-1]).said


def verdict(session: Session) -> tuple[bool, str]:
    """Whether the latest edit took, and the sentence that says so or why not (empty when there is nothing to check)."""
    asked, expert_id = session.asked, session.latest
    if asked is None or expert_id is None:
        return False, ""
    target, said, aside = session.repository.get(expert_id).edit.target, asked.edited.text, _aside(session, expert_id)
    if not same(said, target):
        return False, f"It did not take: the model answers {quoted(said)}. {outcome(session, expert_id)[1]}{aside}"
    if same(asked.base.text, target):
        return True, f"The model said {quoted(target)} before the edit already, and still does.{aside}"
    return True, f"The edit took: the model now answers {quoted(said)}.{aside}"


def _aside(session: Session, expert_id: str) -> str:
    """The sentence on the edits in whose place one stands; empty where there are none."""
    names = [session.name(expert.id) for expert in given_way(session.repository, expert_id)]
    if not names:
        return ""
    if len(names) == 1:
        return f" {names[0]}, which asks the same of this picture, is switched off."
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) <= NAMED else f"{len(names)} earlier edits"
    return f" {listed}, which ask the same of this picture, are switched off."


def _forgotten(asked: Asked, expert_id: str) -> bool:
    """Whether an edit without a trace may have been among those that an old question was routed among."""
    past = asked.past
    return past is not None and past.picture is not None and (past.ids is None or expert_id in past.ids)


def _switched(active: bool, name: str, row: ExpertTrace | None, then: bool) -> Gate:
    if active:
        return Gate(NAMES[0], True, "yes")
    would = ""
    if row is not None:
        would = (
            f"; switched on, it would pass hard routing by {distance(row.margin)}"
            if row.margin > 0
            else f"; switched on, it would still stop at hard routing, {distance(row.margin)} below the threshold"
        )
    is_off = "was switched off when this was asked" if then and row is not None else "is switched off"
    return Gate(NAMES[0], False, "no", f"{name} {is_off}{would}.")


def _picture(asked: Asked) -> Gate:
    if asked.query.image is not None:
        return Gate(NAMES[1], True, "yes")
    return Gate(
        NAMES[1], False, "none",
        "The question has no picture, so there is nothing to route by and no edit acts on it.",
    )  # fmt: skip


def _hard(name: str, row: ExpertTrace | None) -> Gate:
    if row is None:
        return Gate(NAMES[2], False, "not asked", f"{name} was not there yet when the question was asked.")
    numbers = f"visual similarity {number(row.visual_similarity, 3)}, threshold {number(row.threshold, 3)}"
    return Gate(
        NAMES[2], row.margin > 0, f"{numbers}, margin {number(row.margin, 3)}",
        f"{name} stopped at hard routing: what the question looks at is too unlike the edit's picture, "
        f"by {distance(row.margin)} ({numbers}).",
    )  # fmt: skip


def _soft(session: Session, asked: Asked, name: str, row: ExpertTrace | None, took: bool) -> Gate:
    if row is None or not row.passed:
        return Gate(NAMES[3], None, "not reached")
    weight = number(row.weight)
    short = f"absolute {number(row.absolute)}, relative {number(row.relative)}, weight {weight}"
    others = [r for r in asked.trace.passed if r.expert_id != row.expert_id]
    if took or row.weight >= HALF:
        return Gate(NAMES[3], True, short)
    if row.absolute < HALF:
        said = (
            f"{name} stopped at soft routing: the question's words hardly match the edit's prompt "
            f"(absolute weight {number(row.absolute)}), so its residual counts only {weight}."
        )
    elif row.relative < ALONE and others:
        first = max(others, key=lambda r: r.relative)
        more = "" if len(others) == 1 else f" and {len(others) - 1} more"
        said = (
            f"{name} was not heard alone in soft routing: it shares the relative weight with "
            f"{session.name(first.expert_id)} ({number(first.relative)}){more} and keeps {number(row.relative)}, "
            f"so its residual counts only {weight}."
        )
    else:
        said = (
            f"{name} keeps a weight of only {weight} after soft routing (absolute {number(row.absolute)} times "
            f"relative {number(row.relative)})."
        )
    return Gate(NAMES[3], False, short, said)


def _answer(asked: Asked, target: str, name: str, row: ExpertTrace | None) -> Gate:
    said, weight = asked.edited.text, number(row.weight) if row is not None else "0.00"
    if same(said, target):
        before = ", as the unedited model does too" if same(asked.base.text, target) else ""
        sentence = f"The model answers {quoted(said)}, as {name} asks{before}."
    elif same(said, asked.base.text):
        sentence = (
            f"{name} was routed with weight {weight}, but the answer stayed {quoted(said)}: "
            "its residual is too weak to change the words."
        )
    else:
        sentence = (
            f"{name} was routed with weight {weight} and the answer changed, but to {quoted(said)} "
            f"instead of {quoted(target)}."
        )
    return Gate(NAMES[4], same(said, target), quoted(said), sentence)
