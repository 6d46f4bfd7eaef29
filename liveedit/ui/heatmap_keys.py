"""Which heatmaps are wanted for the last question, and the keys under which those that were found are kept.

A key names all that its map depends on. So a map that is found late can never stand for another question's.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from liveedit.attribution import Attribution, Instance, expert_instances, nearest_experts, question_instance
from liveedit.types import ExpertTrace
from liveedit.ui.history import edits_digest
from liveedit.ui.session import Session

QUESTION = "question"
# Maps by what they show and what they depend on, see :func:`wanted`; words in a map's place say why there is none.
Maps = Mapping[str, Attribution | str]


def nearest(session: Session) -> list[ExpertTrace]:
    """The nearest edits of the last question that still are there."""
    if session.asked is None or not session.asked.trace.routed:
        return []
    return [row for row in nearest_experts(session.asked.trace) if row.expert_id in session.names]


def wanted(session: Session, target: str, method: str) -> dict[str, Instance]:
    """What is to be explained for the last question, by the keys of its maps: first the question, then each edit.

    An edit's own feature depends on the edit alone, everything else on the question or on which edits are on.
    """
    asked = session.asked
    if asked is None or asked.query.image is None or not asked.trace.routed:
        return {}
    found = {}
    base, edited = (None, None) if session.outdated else (asked.base, asked.edited)
    own = question_instance(asked.query, target, session.repository, base, edited)
    if own is not None:
        found[key_of(session, target, method, QUESTION)] = own
    ids = [row.expert_id for row in nearest(session)]
    for expert_id, instance in expert_instances(asked.query, target, session.repository, ids).items():
        found[key_of(session, target, method, expert_id)] = instance
    return found


def work_key(session: Session, target: str, method: str) -> str:
    """What tells the maps of one question and choice from those of another."""
    return key_of(session, target, method, QUESTION)


def still_true(session: Session, maps: Maps) -> dict[str, Attribution | str]:
    """What of the maps may be wanted again: of edits that are there, and of the question asked last."""
    last = f"/{question_key(session)}"
    return {
        key: one
        for key, one in maps.items()
        if key.endswith(last) or (key.endswith("/") and key.split("/")[0] in session.names)
    }


def key_of(session: Session, target: str, method: str, subject: str) -> str:
    """The key of a map: of the question, or of an edit by its id."""
    own = subject != QUESTION and target == "feature"
    return f"{subject}/{target}/{method}/{'' if own else question_key(session)}"


def question_key(session: Session) -> str:
    """A short name of the last question and of the edits there are now."""
    asked = session.asked
    if asked is None or asked.query.image is None:
        return "none"
    picture = zlib.crc32(asked.query.image.tobytes())
    return f"{picture:08x}{zlib.crc32(asked.query.prompt.encode()):08x}{edits_digest(session.repository)}"
