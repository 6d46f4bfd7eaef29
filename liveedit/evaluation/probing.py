"""What one edit does, asked at once: does it hold on its picture, reworded, on altered pictures, and what of its neighbours?

Reliability and generality compare the answer with the edit's target. Locality compares the answer with the one given
without this edit, all others in place, so that an edit is never blamed for what another does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.evaluation.metrics import exact_match
from liveedit.evaluation.photographs import blurred, cropped, flipped, relit
from liveedit.experts import ExpertRepository
from liveedit.types import Edit, Query
from liveedit.world.rewording import kind_of, rewordings

GROUPS = ("picture", "rewording", "altered", "same picture", "same question")
HOLDS = ("picture", "rewording", "altered")  # the edit shall show; in the other groups nothing shall change
# Asked of every picture; the one that is of the edit's own kind is left out.
NEIGHBOURS = ("How many objects are there?", "What colour is the background?", "Is there a hamburger?")
# A picture may be mirrored unless somebody speaks of sides or reads what stands in it; mirrored flags are other flags.
_SIDED = re.compile(
    r"\b(left|right|where|side|corner|clockwise|flag|country|capital|currency|continent|read|says?|written|text|word|"
    r"letters?|number|sign|mirror\w*|direction|facing|time|clock)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Outcome:
    """One question of a probe: its group, what was done to it, what was wanted and what was said."""

    group: str
    label: str
    query: Query
    wanted: str
    said: str
    holds: bool


def probe(
    editor: LiveEdit,
    repository: ExpertRepository,
    expert_id: str,
    others: Sequence[tuple[str, Image]] = (),
    seed: int = 0,
) -> list[Outcome]:
    """Ask all questions about one edit; ``others`` are pictures with names, on which its question should change nothing."""
    edit = repository.get(expert_id).edit
    questions = questions_about(edit, others, seed)
    queries = [query for _, _, query in questions]
    said = [answer.text for answer in editor.answer(repository, queries)]
    without = repository.copy()
    without.remove(expert_id)
    local = [i for i, (group, _, _) in enumerate(questions) if group not in HOLDS]
    before = dict(zip(local, editor.answer(without, [queries[i] for i in local]), strict=True))
    outcomes = []
    for i, (group, label, query) in enumerate(questions):
        wanted = before[i].text if i in before else edit.target
        holds = said[i] == wanted if i in before else bool(exact_match(said[i], wanted))
        outcomes.append(Outcome(group, label, query, wanted, said[i], holds))
    return outcomes


def questions_about(
    edit: Edit, others: Sequence[tuple[str, Image]] = (), seed: int = 0
) -> list[tuple[str, str, Query]]:
    """Group, label and question of everything a probe asks."""
    rng = Random(seed)
    found = [("picture", "as edited", Query(edit.image, edit.prompt))]
    found += [("rewording", "reworded", Query(edit.image, text)) for text in rewordings(edit.prompt)]
    changes = {"cropped": cropped, "relit": relit, "blurred": blurred}
    if flip_is_harmless(edit):
        changes["mirrored"] = flipped
    picture = edit.image.convert("RGB")
    found += [("altered", label, Query(change(picture, rng), edit.prompt)) for label, change in changes.items()]
    kind = kind_of(edit.prompt)
    apart = [text for text in NEIGHBOURS if text.casefold() != edit.prompt.casefold() and (kind is None or kind_of(text) != kind)]
    found += [("same picture", "other question", Query(edit.image, text)) for text in apart]
    found += [("same question", name, Query(image, edit.prompt)) for name, image in others]
    return found


def flip_is_harmless(edit: Edit) -> bool:
    """Whether mirroring the picture leaves the edit's question and answer true."""
    return not _SIDED.search(f"{edit.prompt} {edit.target}")


def counts(outcomes: Sequence[Outcome]) -> dict[str, tuple[int, int]]:
    """How many questions of each group hold, of how many."""
    found = {}
    for group in GROUPS:
        rows = [o.holds for o in outcomes if o.group == group]
        if rows:
            found[group] = (sum(rows), len(rows))
    return found
