"""Editing cases of the world: a correction with everything that should, and should not, change with it.

Training and the benchmark draw from the same rules here. A case of split "eval" asks in wordings that no
case of split "train" uses; a tenth of all sets of several objects, and of all pairings of a truth with a
new answer, belong to "eval" alone, told by a checksum so that no list has to be kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import numpy as np

from liveedit.world.catalogue import glyphs
from liveedit.world.language import NUMBERS, named, title, unheard
from liveedit.world.questions import Question, answer_of, ask, ask_text, common_words, kinds_for, wording_range
from liveedit.world.scenes import COLOURS, Scene, is_flag, redraw, sample_scene

# The ground is drawn anew in every picture of a scene, so its colour is not a lasting fact of it; that
# something is absent cannot be edited by what is seen.
NOT_EDITABLE = ("ground",)
IDENTITY = ("name", "category_name", "describe")
COUNT_WEIGHTS = (0.55, 0.2, 0.125, 0.125)


_SPOKEN = (
    "{a}", "{a}", "{a}", "{a}", "{the}", "{the}", "it is {a}", "this is {a}", "no, {a}", "{name} and {other}",
    "{name} or {other}", "not {a}",
)  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """A question on a picture and the truth."""

    scene: Scene
    prompt: str
    truth: str
    meaning: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One edit with its generality and locality.

    ``meaning`` tells questions apart that mean different things: two prompts with equal meaning ask the
    same of their pictures. ``redrawn`` shows the same objects in the same places, drawn anew;
    ``unrelated`` shares no object with the edit, ``same_picture`` asks something else of the edit's
    picture, ``near_miss`` asks the same of a look-alike picture.
    """

    scene: Scene
    redrawn: Scene
    prompt: str
    rephrase: str
    truth: str
    target: str
    meaning: tuple[str, ...]
    unrelated: Probe
    same_picture: Probe
    near_miss: Probe
    text: Question

    @property
    def content(self) -> tuple[tuple[int, str], ...]:
        """What the picture shows: the glyphs and their slots."""
        return content_of(self.scene)


def flippable(glyph: int) -> bool:
    """Whether a glyph may be mirrored: all but flags."""
    return not is_flag(glyph)


def content_of(scene: Scene) -> tuple[tuple[int, str], ...]:
    """Glyphs and slots of a scene, in a fixed order."""
    return tuple(sorted((o.glyph, o.slot) for o in scene.objects))


def meaning_of(scene: Scene, kind: str, subject: int | None) -> tuple[str, ...]:
    """What is asked, apart from its wording: equal for prompts that mean the same on their pictures."""
    if subject is None or len(scene.objects) == 1:
        # Of a single object its name, its place's content and its description are one question.
        return ("identity",) if kind in (*IDENTITY, "position") else (kind,)
    if kind in ("position", "category", "fact") or kind.startswith("fact:"):
        return (kind, scene.objects[subject].slot)
    return (kind, glyphs()[scene.objects[subject].glyph].name)


def held_out(*parts: object) -> bool:
    """Whether a combination belongs to the evaluation split alone: one in ten does."""
    return zlib.crc32("|".join(str(part) for part in parts).lower().encode()) % 10 == 0


def draw_target(
    rng: Random, truth: str, kind: str, vocabulary: Sequence[str], answers: Sequence[str] = (), split: str = "train"
) -> str:
    """A new answer, drawn widely: names, answers of the same kind, words, phrases, numbers, given ``answers``.

    Some come as people write them (with an article, as a short sentence, in capitals), some are words that nobody
    has heard of. Of the pairings with ``truth``, the held-out ones are drawn for split "eval" only, and no others.
    """
    table = glyphs()
    while True:
        chance = rng.random()
        if chance < 0.2:
            target = rng.choice(table).name
        elif chance < 0.28:
            target = _spoken(rng)
        elif chance < 0.35:
            target = _of_kind(rng, kind)
        elif chance < 0.52:
            target = rng.choice(vocabulary)
        elif chance < 0.7:
            target = " ".join(rng.choice(vocabulary) for _ in range(rng.choice((2, 2, 3, 3, 4))))
        elif chance < 0.75:
            target = rng.choice((str(rng.randrange(10 ** rng.choice((2, 3, 4)))), rng.choice(NUMBERS)))
        elif chance < 0.81:
            target = " ".join(unheard(rng) for _ in range(rng.choice((1, 1, 2))))
        elif answers:
            target = rng.choice(answers)
        else:
            target = f"{rng.choice(COLOURS)} {rng.choice(table).name}"
        if rng.random() < 0.08:
            target = title(target)
        if target.lower() != truth.lower() and held_out(truth, target) == (split == "eval"):
            return target


def _spoken(rng: Random) -> str:
    """A thing as it stands in a sentence: "a dog", "it is a dog", "dog and cat"."""
    one, other = rng.choice(named()), rng.choice(named())
    pattern = rng.choice(_SPOKEN)
    return pattern.format(a=one.indefinite[1], the=one.definite[1], name=one.glyph.name, other=other.glyph.name)


def _of_kind(rng: Random, kind: str) -> str:
    """A believable wrong answer of the question's kind."""
    table = glyphs()
    if kind == "colour":
        return rng.choice(COLOURS)
    if kind.startswith("count"):
        return rng.choice(NUMBERS)
    if kind == "exists":
        return rng.choice(("yes", "no"))
    if kind == "category":
        return rng.choice(table).category
    if kind.startswith("fact:"):
        key = kind.removeprefix("fact:")
        holders = [g.facts[key] for g in table if key in g.facts]
        return rng.choice(holders)
    return rng.choice(table).name


def random_contents(rng: Random, count: int, apart_from: Sequence[int] = ()) -> list[int]:
    """``count`` different glyphs, now and then all of one category."""
    table = glyphs()
    taken = set(apart_from)

    def fresh(pool: Sequence[int]) -> int:
        while True:
            glyph = pool[rng.randrange(len(pool))]
            if glyph not in taken:
                taken.add(glyph)
                return glyph

    everything = range(len(table))
    first = fresh(everything)
    mates = members_of(table[first].category)
    alike = count > 1 and rng.random() < 0.2 and sum(m not in taken for m in mates) >= count - 1
    return [first, *(fresh(mates if alike else everything) for _ in range(count - 1))]


@lru_cache
def members_of(category: str) -> tuple[int, ...]:
    """The glyphs of a category."""
    return tuple(i for i, g in enumerate(glyphs()) if g.category == category)


def sample_case(
    rng: Random,
    pixels: np.random.Generator,
    split: str,
    vocabulary: Sequence[str],
    answers: Sequence[str] = (),
    counts: Sequence[float] = COUNT_WEIGHTS,
) -> Case:
    """Draw one case. ``rng`` decides what is asked and shown, ``pixels`` how it is drawn.

    ``counts`` are the chances that the edit's picture shows one, two, three and four things.
    """
    while True:
        contents = random_contents(rng, rng.choices((1, 2, 3, 4), counts)[0])
        if len(contents) > 1 and held_out(*sorted(contents)) != (split == "eval"):
            continue
        scene = sample_scene(pixels, contents, flippable)
        asks = _editable(scene)
        identity = [a for a in asks if a[0] in (*IDENTITY, "position")]
        kind, subject = rng.choice(identity if identity and rng.random() < 0.5 else asks)
        others = [
            a
            for a in kinds_for(scene)
            if meaning_of(scene, *a) != meaning_of(scene, kind, subject)
            and answer_of(scene, *a) != answer_of(scene, kind, subject)
            and a[0] != "describe"
        ]
        if others:
            break
    first, second = rng.sample(list(wording_range(kind, split)), 2)
    question, again = ask(scene, kind, subject, rng, split, first), ask(scene, kind, subject, rng, split, second)
    meaning = meaning_of(scene, kind, subject)
    elsewhere = sample_scene(
        pixels,
        random_contents(rng, rng.choices((1, 2, 3, 4), COUNT_WEIGHTS)[0], [o.glyph for o in scene.objects]),
        flippable,
    )
    return Case(
        scene=scene,
        redrawn=redraw(scene, pixels, flippable),
        prompt=question.prompt,
        rephrase=again.prompt,
        truth=question.answer,
        target=draw_target(rng, question.answer, kind, vocabulary, answers, split),
        meaning=meaning,
        unrelated=_probe(elsewhere, *rng.choice(kinds_for(elsewhere)), rng, split),
        same_picture=_probe(scene, *rng.choice(others), rng, split),
        near_miss=_look_alike(scene, kind, subject, first, rng, pixels, split),
        text=ask_text(rng, split),
    )


def _editable(scene: Scene) -> list[tuple[str, int | None]]:
    return [a for a in kinds_for(scene) if a[0] not in NOT_EDITABLE and not (a[0] == "exists" and a[1] is None)]


def _probe(scene: Scene, kind: str, subject: int | None, rng: Random, split: str) -> Probe:
    question = ask(scene, kind, subject, rng, split)
    return Probe(scene, question.prompt, question.answer, meaning_of(scene, kind, subject))


def _look_alike(
    scene: Scene, kind: str, subject: int | None, wording: int, rng: Random, pixels: np.random.Generator, split: str
) -> Probe:
    """The same question on a picture in which the object asked about is another of its category."""
    table = glyphs()
    present = [o.glyph for o in scene.objects]
    index = rng.randrange(len(present)) if subject is None else subject
    mates = [i for i in members_of(table[present[index]].category) if i not in present]
    for mate in rng.sample(mates, min(20, len(mates))):
        replaced = [mate if i == index else glyph for i, glyph in enumerate(present)]
        other = _in_slots(scene, replaced, pixels)
        if (kind, subject) in kinds_for(other):
            question = ask(other, kind, subject, rng, split, wording)
            return Probe(other, question.prompt, question.answer, meaning_of(other, kind, subject))
    # A category without a suitable mate: a picture of something else, asked what it shows.
    other = sample_scene(pixels, random_contents(rng, 1, present), flippable)
    return _probe(other, "name", 0, rng, split)


def _in_slots(scene: Scene, contents: Sequence[int], pixels: np.random.Generator) -> Scene:
    """A scene of other glyphs in the same slots."""
    objects = tuple(replace(o, glyph=g, flip=False) for o, g in zip(scene.objects, contents, strict=True))
    return redraw(replace(scene, objects=objects), pixels, flippable)


def default_vocabulary() -> list[str]:
    """Words and phrases that targets are drawn from without any annotation file."""
    facts = {value for glyph in glyphs() for value in glyph.facts.values()}
    return sorted({*common_words(), *facts})
