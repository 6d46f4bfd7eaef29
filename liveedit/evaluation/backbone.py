"""How much of the emoji world a backbone knows: written answers on held-out scenes, in held-out wordings.

Groups are of equal size, so each number is as certain as the next; a question counts as right only when the
whole answer is. Nothing is edited here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from liveedit.backbones import Backbone
from liveedit.editors.decoding import generate
from liveedit.evaluation.metrics import exact_match
from liveedit.types import InputError
from liveedit.world.cases import default_vocabulary, flippable, random_contents
from liveedit.world.photos import PhotoSet, render_photo
from liveedit.world.questions import Question, ask, ask_copy, ask_text, kinds_for, photo_question
from liveedit.world.scenes import Scene, is_flag, render, sample_scene

FORMAT = "liveedit-backbone-evaluation-1"
STREAM = 3_000_003  # no training draws from [seed, STREAM]
SIDE = 112
BATCH = 64
MAX_NEW_TOKENS = 48
FLAG_FACTS = ("fact:country", "fact:capital", "fact:continent", "fact:currency")

Progress = Callable[[int, int, str], None]
Wanted = Callable[[Scene, str, int | None], bool]


@dataclass(frozen=True)
class Item:
    """A question with its picture: what is asked, and the true answer."""

    image: Image.Image | None
    prompt: str
    answer: str


def _of(*kinds: str) -> Wanted:
    return lambda scene, kind, subject: kind in kinds


def _fact(flags: bool) -> Wanted:
    """Facts of flags, or every other fact."""

    def wanted(scene: Scene, kind: str, subject: int | None) -> bool:
        of_flag = subject is not None and is_flag(scene.objects[subject].glyph) and kind in FLAG_FACTS
        return kind.startswith("fact:") and of_flag == flags

    return wanted


FURTHER = "copy, further forms"

# Group: numbers of objects in its scenes, and which of a scene's questions belong to it.
SCENE_GROUPS: dict[str, tuple[tuple[int, ...], Wanted]] = {
    "name": ((1,), _of("name")),
    "position": ((2, 3, 4), _of("position")),
    "category name": ((1, 2, 3, 4), _of("category_name")),
    "colour": ((1, 2, 3), _of("colour")),
    "ground": ((1, 2, 3, 4), _of("ground")),
    "count": ((1, 2, 3, 4), _of("count")),
    "count of a category": ((1, 2, 3, 4), _of("count_category")),
    "facts of flags": ((1, 2, 3, 4), _fact(flags=True)),
    "other facts": ((1, 2, 3, 4), _fact(flags=False)),
    "where": ((2, 3, 4), _of("where")),
    "exists": ((1, 2, 3, 4), _of("exists")),
    "category": ((1, 2, 3, 4), _of("category")),
    "describe": ((1, 2, 3, 4), _of("describe")),
}


def evaluate_backbone(
    backbone: Backbone,
    seed: int = 0,
    per_kind: int = 200,
    photos: PhotoSet | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask ``per_kind`` questions of every group; returns one JSON-able object.

    Keys: ``format``, ``backbone`` (fingerprint), ``seed``, ``per_kind`` and ``groups``: by group ``n`` and
    ``accuracy`` (exact match in percent). Groups are those of :data:`SCENE_GROUPS`, "photographs" (only with
    ``photos``, which should be the archive's test split), "copy", "text facts" and "copy, further forms".
    """
    if per_kind < 1:
        raise InputError(f"{per_kind} questions a group were asked for: ask for at least 1")
    if seed < 0:
        raise InputError(f"the seed is {seed}: choose 0 or a larger number")
    streams = group_items(seed, photos)
    groups: dict[str, dict[str, Any]] = {}
    total, done = per_kind * len(streams), 0
    for name, items in streams.items():
        hits: list[float] = []
        while len(hits) < per_kind:
            batch = list(islice(items, min(BATCH, per_kind - len(hits))))
            if not batch:
                break  # fewer photographs than questions wanted
            hits += [
                exact_match(*pair) for pair in zip(_written(backbone, batch), (i.answer for i in batch), strict=True)
            ]
            if progress is not None:
                progress(min(done + len(hits), total), total, name)
        done += per_kind
        groups[name] = {"n": len(hits), "accuracy": round(100.0 * sum(hits) / len(hits), 2) if hits else None}
    return {
        "format": FORMAT,
        "backbone": backbone.fingerprint,
        "seed": seed,
        "per_kind": per_kind,
        "groups": groups,
    }


def group_items(seed: int, photos: PhotoSet | None = None) -> dict[str, Iterator[Item]]:
    """The questions of every group as endless streams (photographs end), each with its own random numbers."""
    names = [*SCENE_GROUPS, "photographs", "copy", "text facts", FURTHER]
    random: dict[str, tuple[np.random.Generator, Random]] = {}
    for number, name in enumerate(names):
        rng = np.random.default_rng([seed, STREAM, number])
        random[name] = (rng, Random(int(rng.integers(2**62))))
    streams = {name: _scene_items(*spec, *random[name]) for name, spec in SCENE_GROUPS.items()}
    if photos is not None:
        streams["photographs"] = _photo_items(photos, *random["photographs"])
    vocabulary = default_vocabulary()
    streams["copy"] = _text_items(lambda dice: ask_copy(dice, vocabulary, "eval"), random["copy"][1])
    streams["text facts"] = _text_items(lambda dice: ask_text(dice, "eval"), random["text facts"][1])
    streams[FURTHER] = _text_items(lambda dice: ask_copy(dice, vocabulary, "eval", "copy further"), random[FURTHER][1])
    return streams


def _scene_items(counts: Sequence[int], wanted: Wanted, rng: np.random.Generator, dice: Random) -> Iterator[Item]:
    """Questions of one group, one from a scene."""
    while True:
        scene = sample_scene(rng, random_contents(dice, dice.choice(counts)), flippable)
        asks = [a for a in kinds_for(scene) if wanted(scene, *a)]
        if not asks:
            continue
        # Present and absent things shall be asked after equally often, however many are present.
        absent = [a for a in asks if a[1] is None]
        present = [a for a in asks if a[1] is not None]
        pool = (absent if dice.random() < 0.5 else present) if absent and present else asks
        question = ask(scene, *dice.choice(pool), dice, "eval")
        yield Item(Image.fromarray(render(scene, SIDE)), question.prompt, question.answer)


def _photo_items(photos: PhotoSet, rng: np.random.Generator, dice: Random) -> Iterator[Item]:
    """What each photograph shows, in random order and as it is."""
    for index in rng.permutation(len(photos)):
        question = photo_question(photos.answer(int(index)), dice, "eval")
        while question.kind != "photo":
            question = photo_question(photos.answer(int(index)), dice, "eval")
        yield Item(Image.fromarray(render_photo(photos.images[index], SIDE)), question.prompt, question.answer)


def _text_items(draw: Callable[[Random], Question], dice: Random) -> Iterator[Item]:
    """Questions without a picture."""
    while True:
        question = draw(dice)
        yield Item(None, question.prompt, question.answer)


def _written(backbone: Backbone, items: Sequence[Item]) -> list[str]:
    """Greedy answers to some questions, all with a picture or all without."""
    batch = backbone.encode([i.image for i in items], [i.prompt for i in items], None, template=True)
    return [text for text, _ in generate(backbone, batch, MAX_NEW_TOKENS)]
