"""Questions on scenes, on facts and on what was said, each with its true answer.

A question's *kind* says what is asked, its *subject* the object it is asked about, and its
*wording* how. A question is only ever offered when it has one clear answer: with two cats in
the picture nobody asks where the cat is.

Two kinds use the subject in a special way. ``exists`` and ``count_category`` with a subject
ask about a thing that is there; without one they ask about a thing that is not, so that the
answers are "no" and "zero".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from random import Random

from liveedit.types import WorldError
from liveedit.world.frames import framed
from liveedit.world.kinds import KINDS, Question, pick_wording, wording_count, wording_range, wordings
from liveedit.world.language import (
    GENERIC,
    NUMBERS,
    OVERLAPS,
    Named,
    capital_first,
    listed,
    named,
    noun_of,
    nouns_of,
)
from liveedit.world.scenes import COLOURS, LAYOUTS, Ground, Placed, Scene
from liveedit.world.texts import ask_copy, ask_text, common_words, fact_answer, photo_question
from liveedit.world.wordings import FACTS, PICTURE

__all__ = [
    "KINDS",
    "Question",
    "answer_of",
    "ask",
    "ask_copy",
    "ask_text",
    "common_words",
    "corpus",
    "kinds_for",
    "photo_question",
    "sample_questions",
    "wording_count",
    "wording_range",
    "wordings",
]

Ask = tuple[str, int | None]

# How a slot is spoken of; the first form is the one used in answers.
PLACES: Mapping[str, tuple[str, ...]] = {
    "centre": ("in the centre", "in the middle", "in the center"),
    "left": ("on the left", "on the left side", "on the left-hand side"),
    "right": ("on the right", "on the right side", "on the right-hand side"),
    "top": ("at the top", "in the top part", "in the upper part"),
    "bottom": ("at the bottom", "in the bottom part", "in the lower part"),
    "top left": ("in the top left", "in the top left corner", "at the top left"),
    "top right": ("in the top right", "in the top right corner", "at the top right"),
    "bottom left": ("in the bottom left", "in the bottom left corner", "at the bottom left"),
    "bottom right": ("in the bottom right", "in the bottom right corner", "at the bottom right"),
}
_READING_ORDER = {
    slot: rank
    for rank, slot in enumerate(
        ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
    )
}
# How often a kind is asked, relative to the others; each object of a scene counts.
WEIGHTS: Mapping[str, float] = {
    "name": 7.0, "category_name": 1.2, "category": 1.4, "position": 3.0, "where": 5.0, "count": 1.2,
    "count_category": 1.4, "colour": 1.2, "ground": 0.6, "exists": 2.0, "describe": 2.0,
}  # fmt: skip
_FACT_WEIGHT = 1.2


def _things(scene: Scene) -> list[Named]:
    names = named()
    return [names[placed.glyph] for placed in scene.objects]


@lru_cache(maxsize=65536)
def _shares_name(one: int, other: int) -> bool:
    """Say whether the name of glyph ``one`` also fits glyph ``other``: "dog" fits "black dog"."""
    mine, its = named()[one], named()[other]
    alike = mine.glyph.name in GENERIC and mine.glyph.category == its.glyph.category
    return alike or mine.words <= its.words


def _unique_name(scene: Scene, index: int) -> bool:
    mine = scene.objects[index].glyph
    return not any(_shares_name(mine, o.glyph) for i, o in enumerate(scene.objects) if i != index)


def _unique_slot(scene: Scene, index: int) -> bool:
    """Say whether a slot means one object only: "left" does not beside "top left"."""
    slot = scene.objects[index].slot
    return not any(
        other.slot == slot or slot in other.slot.split() for i, other in enumerate(scene.objects) if i != index
    )


def _clear_category(category: str, present: list[str]) -> bool:
    """Say whether nothing present might or might not be counted to the category."""
    overlaps = OVERLAPS.get(category)
    return overlaps is None or overlaps.isdisjoint(present)


def _absent_categories(present: list[str]) -> list[str]:
    return [
        c for c in sorted({n.glyph.category for n in _first_of_category()})
        if c not in present and _clear_category(c, present)
    ]  # fmt: skip


@lru_cache(maxsize=1)
def _first_of_category() -> tuple[Named, ...]:
    return tuple({n.glyph.category: n for n in named()}.values())


@lru_cache(maxsize=1)
def _members() -> dict[str, tuple[Named, ...]]:
    """Return the glyphs of each category; the empty string stands for all."""
    members: dict[str, list[Named]] = {"": list(named())}
    for name in named():
        members.setdefault(name.glyph.category, []).append(name)
    return {category: tuple(found) for category, found in members.items()}


def kinds_for(scene: Scene) -> list[Ask]:
    """Return every kind and subject that can be asked of a scene with one clear answer."""
    things = _things(scene)
    if not things:
        return [("count", None), ("ground", None), ("count_category", None), ("exists", None)]
    present = [t.glyph.category for t in things]
    single = len(things) == 1
    asks: list[Ask] = [("count", None), ("describe", None), ("exists", None), ("count_category", None)]
    if scene.ground.colour:
        asks.append(("ground", None))
    if single:
        asks.append(("name", 0))
    for index, thing in enumerate(things):
        category = present[index]
        unique = single or _unique_name(scene, index)
        asks.append(("exists", index))
        if _clear_category(category, present):
            if present.count(category) == 1:
                asks.append(("category_name", index))
            if present.index(category) == index:
                asks.append(("count_category", index))
        if unique and thing.glyph.colour:
            asks.append(("colour", index))
        if unique and not single:
            asks.append(("where", index))
        if single or _unique_slot(scene, index):
            asks.append(("position", index))
            asks.append(("category", index))
            asks.extend((kind, index) for kind in _fact_kinds(thing.glyph.index))
    return asks


@lru_cache(maxsize=4096)
def _fact_kinds(glyph: int) -> tuple[str, ...]:
    return tuple(f"fact:{key}" for key in named()[glyph].facts if key in FACTS)


def _described(scene: Scene, things: list[Named]) -> str:
    """Return the caption of a scene, in reading order so that there is only one."""
    if not things:
        return "nothing"
    if len(things) == 1:
        return things[0].indefinite[0]
    order = sorted(range(len(things)), key=lambda i: _READING_ORDER[scene.objects[i].slot])
    return listed([f"{things[i].indefinite[0]} {PLACES[scene.objects[i].slot][0]}" for i in order])


def answer_of(scene: Scene, kind: str, subject: int | None) -> str:
    """Return the true answer; see the module's text for what a missing subject means."""
    things = _things(scene)
    if kind == "count":
        return NUMBERS[len(things)]
    if kind == "ground":
        return scene.ground.colour
    if kind == "describe":
        return _described(scene, things)
    if kind == "exists":
        return "no" if subject is None else "yes"
    if kind == "count_category" and subject is None:
        return "zero"
    if subject is None or not 0 <= subject < len(things):
        raise WorldError(f"A question of kind {kind!r} needs one of the scene's objects as its subject.")
    glyph = things[subject].glyph
    if kind in ("name", "category_name", "position"):
        return glyph.name
    if kind == "category":
        return glyph.category
    if kind == "where":
        return scene.objects[subject].slot
    if kind == "count_category":
        return NUMBERS[sum(t.glyph.category == glyph.category for t in things)]
    if kind == "colour" and glyph.colour:
        return glyph.colour
    key = kind.removeprefix("fact:")
    if kind.startswith("fact:") and key in glyph.facts:
        return fact_answer(key, glyph.facts[key])
    raise WorldError(f"A question of kind {kind!r} cannot be asked about {glyph.name!r}.")


def _stranger(things: list[Named], rng: Random) -> Named:
    """Choose a thing that is certainly not in the scene, half of the time a similar one."""
    categories = [t.glyph.category for t in things]
    members = _members()
    for _ in range(200):
        near = bool(categories) and rng.random() < 0.5
        pool = members[categories[int(rng.random() * len(categories))] if near else ""]
        found = pool[int(rng.random() * len(pool))]
        if found.glyph.name in GENERIC and found.glyph.category in categories:
            continue
        if not any(found.words <= t.words or t.words <= found.words for t in things):
            return found
    raise WorldError("The catalogue holds no glyph that is missing from this scene.")


def ask(
    scene: Scene,
    kind: str,
    subject: int | None,
    rng: Random,
    split: str = "train",
    wording: int | None = None,
) -> Question:
    """Put one question into words.

    ``wording`` is an index within the kind and has to belong to ``split``; see
    :func:`wording_range`. Without it one is drawn.
    """
    if (not kind.startswith("fact:") and kind not in PICTURE) or kind.startswith("photo"):
        raise WorldError(f"A question of kind {kind!r} cannot be asked about a scene.")
    wording, template = pick_wording(kind, rng, split, wording)
    answer = answer_of(scene, kind, subject)
    if "{" not in template and subject is None:
        return Question(kind, framed(template, rng, split, picture=True), answer, wording, subject)
    things = _things(scene)
    # Casual wordings have no capitals at all.
    proper = 0 if template[0].islower() else 1
    single = len(things) == 1
    about = things[subject] if subject is not None else None
    if kind == "exists" and about is None:
        about = _stranger(things, rng)
    if about is None:  # only count_category is left: ask for what is not there
        absent = _absent_categories([t.glyph.category for t in things])
        category = absent[int(rng.random() * len(absent))]
        return Question(kind, framed(template.format(nouns=nouns_of(category)), rng, split, picture=True), answer, wording, subject)
    category = about.glyph.category
    noun = noun_of(category)
    plural = about.plural
    fields = {
        "noun": noun,
        "nouns": nouns_of(category),
        "the": about.definite[proper],
        "a": about.indefinite[proper],
        "is": "are" if plural else "is",
        "Is": "Are" if plural else "Is",
        "do": "do" if plural else "does",
    }
    lead = ""
    if subject is not None:
        slot = scene.objects[subject].slot
        forms = PLACES[slot]
        at = forms[0] if rng.random() < 0.6 else forms[int(rng.random() * len(forms))]
        fields["at"], fields["At"] = at, capital_first(at)
        if kind == "category" or kind.startswith("fact:"):
            fields["is"], fields["do"] = "is", "does"
            this = _reference(kind, noun, at, single)
            fields["this"], fields["This"] = this, capital_first(this)
            if not single and "{this}" not in template and "{This}" not in template:
                lead = f"Look at the {noun} {at}. "
        elif kind == "colour" and not single and "{the}" not in template:
            lead = f"Look at {about.definite[1]}. "
    return Question(kind, framed(lead + template.format_map(fields), rng, split, picture=True), answer, wording, subject)


def _reference(kind: str, noun: str, at: str, single: bool) -> str:
    """Return the words that point at the thing a fact is asked about."""
    if kind == "category":
        return "this" if single else f"the object {at}"
    if kind in ("fact:capital", "fact:continent", "fact:currency"):
        return "this country" if single else f"the country whose flag is {at}"
    return f"this {noun}" if single else f"the {noun} {at}"


def sample_questions(scene: Scene, rng: Random, n: int, split: str = "train") -> list[Question]:
    """Draw ``n`` questions on a scene, all different in what they ask while there are enough."""
    asks = kinds_for(scene)
    # Present and absent things shall be asked after equally often, however many are present.
    share = 1.0 / max(1, len(scene.objects))
    weights = [
        WEIGHTS.get(kind, _FACT_WEIGHT) * (share if kind == "exists" and subject is not None else 1.0)
        for kind, subject in asks
    ]
    chosen: list[Ask] = []
    # Drawing with repeats and dropping them is faster than drawing without.
    drawn = rng.choices(asks, weights, k=4 * n)
    for entry in drawn:
        if len(chosen) < n and entry not in chosen:
            chosen.append(entry)
    for entry in drawn:
        if len(chosen) == n:
            break
        chosen.append(entry)
    return [ask(scene, kind, subject, rng, split) for kind, subject in chosen]


# Names of things in photographs, for the tokenizer.
_PHOTO_LABELS = ("airplane", "bird", "car", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _plain_scene(rng: Random) -> Scene:
    """Make up a scene that is only talked about: nothing but names and slots matters."""
    layouts = LAYOUTS[1 + int(rng.random() * len(LAYOUTS))]
    layout = layouts[int(rng.random() * len(layouts))]
    total = len(named())
    objects = tuple(Placed(int(rng.random() * total), 0.5, 0.5, 0.5, 0.0, False, cell.slot) for cell in layout)
    return Scene(objects, Ground("plain", rng.choice(COLOURS), 0), 1.0, 0.0, 0)


def corpus(rng: Random, n: int) -> Iterator[str]:
    """Yield ``n`` training questions with their answers, as text to train a tokenizer on."""
    vocabulary = common_words()
    for _ in range(n):
        draw = rng.random()
        if draw < 0.5:
            question = sample_questions(_plain_scene(rng), rng, 1)[0]
        elif draw < 0.7:
            question = ask_text(rng)
        elif draw < 0.95:
            question = ask_copy(rng, vocabulary)
        else:
            question = photo_question(rng.choice(_PHOTO_LABELS), rng)
        yield f"{question.prompt} {question.answer}"
