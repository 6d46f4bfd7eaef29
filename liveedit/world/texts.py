"""Questions without a scene: facts in text, repeating a phrase, and photographs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random

from liveedit.types import WorldError
from liveedit.world.catalogue import by_name
from liveedit.world.copying import compose
from liveedit.world.frames import framed
from liveedit.world.kinds import Question, pick_wording
from liveedit.world.language import LIVING, a_or_an, capital_first, country_phrase, named, title, unheard
from liveedit.world.wordings import COPY_FURTHER, COPY_HELD_OUT, FACTS

_WORDS = Path(__file__).with_name("words.txt")
_TEXT_WEIGHTS: Mapping[str, float] = {
    "capital": 3.0,
    "country with capital": 2.0,
    "currency": 2.0,
    "continent": 1.5,
}
_COUNTRY_FACTS = ("capital", "continent", "currency")

# What fills the other places of a wording for repeating.
_PEOPLE = (
    "Anna", "Tom", "Maria", "Peter", "Lucy", "Ahmed", "Emma", "Carlos", "Yuki", "Olga", "James", "Priya",
    "my aunt", "my brother", "my teacher", "the doctor", "our neighbour", "the captain",
)  # fmt: skip
_THINGS = (
    "ship", "street", "river", "song", "hotel", "school", "team", "city", "garden", "king", "dog", "house",
    "island", "bridge", "book", "horse", "shop", "station", "car", "flower", "mountain", "teacher", "film",
)  # fmt: skip

# Broad categories of photographs; the rest of a label's category is too fine for "or" questions.
_PHOTO_CATEGORIES: Mapping[str, str] = {"truck": "vehicle", "automobile": "vehicle"}
_ALTERNATIVES = (
    "animal",
    "vehicle",
    "building",
    "plant",
    "fruit",
    "tool",
    "musical instrument",
    "flag",
    "drink",
)
_PHOTO_CATEGORY_SHARE = 0.2

# How many of the training prompts for repeating are composed of parts, and the wording's index that they carry.
_COMPOSED_SHARE = 0.75
_UNHEARD_SHARE = 0.08
COMPOSED = -1


def fact_answer(key: str, value: str) -> str:
    """Return a fact as an answer; "both" only makes sense beside its alternatives."""
    return "plants and meat" if key == "diet" and value == "both" else value


@cache
def _text_facts() -> tuple[tuple[str, ...], tuple[float, ...], dict[str, tuple[tuple[str, str, str], ...]]]:
    """Return the keys of facts, their weights, and per key (subject, "is"/"are", answer)."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for thing in named():
        glyph = thing.glyph
        if glyph.category == "flag":
            country = country_phrase(glyph.facts.get("country", glyph.name.removeprefix("flag of ")))
            for key in _COUNTRY_FACTS:
                if key in glyph.facts:
                    found.setdefault(key, []).append((country, "is", glyph.facts[key]))
            if "capital" in glyph.facts:
                bare = country.removeprefix("the ")
                found.setdefault("country with capital", []).append((glyph.facts["capital"], "is", bare))
            continue
        # A "cat face" is a drawing, not something that has young or a home.
        if "face" in thing.words:
            continue
        verb = "are" if thing.plural else "is"
        subject = thing.indefinite[1]
        found.setdefault("category", []).append((subject, verb, glyph.category))
        for key in glyph.facts:
            if key in FACTS and key != "country":
                found.setdefault(key, []).append((subject, verb, fact_answer(key, glyph.facts[key])))
    keys = tuple(found)
    weights = tuple(_TEXT_WEIGHTS.get(key, 1.0) for key in keys)
    return keys, weights, {key: tuple(rows) for key, rows in found.items()}


def ask_text(rng: Random, split: str = "train") -> Question:
    """Ask for a fact in text alone: "What is the capital of Japan?"."""
    keys, weights, rows = _text_facts()
    key = rng.choices(keys, weights)[0]
    subject, verb, answer = rng.choice(rows[key])
    wording, template = pick_wording(f"text:{key}", rng, split)
    if template[0].islower():
        subject = subject.lower()
    elif key in _COUNTRY_FACTS or key == "country with capital":
        subject = title(subject)
    do = "does" if verb == "is" else "do"
    fields = {"this": subject, "This": capital_first(subject), "is": verb, "Is": verb.capitalize(), "do": do}
    return Question(f"text:{key}", framed(template.format_map(fields), rng, split), answer, wording, None)


def ask_copy(rng: Random, vocabulary: Sequence[str], split: str = "train", kind: str = "copy") -> Question:
    """Ask for a phrase of one to five words to be repeated; the answer is that very phrase.

    ``kind`` "copy further" has wordings for evaluation alone.
    """
    if not vocabulary:
        raise WorldError("There are no words to repeat: the vocabulary is empty.")
    parts: list[str] = []
    for _ in range(rng.choices((1, 2, 3, 4, 5), (5, 4, 2, 1, 1))[0]):
        parts += vocabulary[int(rng.random() * len(vocabulary))].split()
    phrase = " ".join(parts[:5])
    if not phrase:
        raise WorldError("The vocabulary holds an empty phrase.")
    if split == "train" and rng.random() < _UNHEARD_SHARE:
        words = phrase.split()
        words[int(rng.random() * len(words))] = unheard(rng)
        phrase = " ".join(words)
    if rng.random() < 0.15:
        phrase = title(phrase)
    countries = _text_facts()[2]["capital"]
    if split == "train" and rng.random() < _COMPOSED_SHARE:
        other = " ".join(vocabulary[int(rng.random() * len(vocabulary))].split()[:3])
        people = _PEOPLE + tuple(f"the {word}" for word in ("painter", "child", "driver", "old man", "cat", "farmer"))
        chance = rng.random()
        if chance < 0.4:
            holders = [f"{rng.choice(('the', 'the', 'our', 'my', 'that'))} {rng.choice(_THINGS)}"]
        elif chance < 0.6:
            holders = [rng.choice(named()).definite[1]]
        else:
            holders = [title(rng.choice(countries)[0]) if chance < 0.8 else rng.choice(people)]
        return Question("copy", compose(rng, phrase, other, people, holders, _plain_words()), phrase, COMPOSED, None)
    wording, template = pick_wording(kind, rng, split)
    person = rng.choice(_PEOPLE)
    country = rng.choice(countries)[0]
    lower = template[0].islower()
    prompt = template.format(
        p=phrase,
        q=person,
        Q=capital_first(person),
        k=rng.choice(_THINGS),
        c=country if lower or rng.random() < 0.3 else title(country),
    )
    return Question(kind, prompt, phrase, wording, None)


def _photo_category(label: str) -> str | None:
    """Return the broad category of a photograph's label, or None when it is not known."""
    glyph = by_name().get(label)
    category = _PHOTO_CATEGORIES.get(label) or (glyph.category if glyph else None)
    if category in LIVING:
        return "animal"
    return category if category in _ALTERNATIVES else None


def photo_question(label: str, rng: Random, split: str = "train") -> Question:
    """Ask what a photograph shows, or sometimes which of two categories it belongs to."""
    category = _photo_category(label)
    if category is None or rng.random() >= _PHOTO_CATEGORY_SHARE:
        wording, template = pick_wording("photo", rng, split)
        return Question("photo", framed(template, rng, split), label, wording, None)
    # "vehicle or animal" half of the time: the other pairs give the answer away too easily.
    close = {"animal": "vehicle", "vehicle": "animal"}.get(category)
    other = close if close and rng.random() < 0.5 else rng.choice([c for c in _ALTERNATIVES if c != category])
    pair = [a_or_an(category), a_or_an(other)]
    if rng.random() < 0.5:
        pair.reverse()
    wording, template = pick_wording("photo category", rng, split)
    prompt = template.format(x=pair[0], X=capital_first(pair[0]), y=pair[1])
    return Question("photo category", framed(prompt, rng, split), category, wording, None)


@cache
def _common_words() -> tuple[str, ...]:
    try:
        return tuple(_WORDS.read_text(encoding="utf-8").split())
    except OSError as error:
        raise WorldError(f"The list of words {_WORDS} is missing, so restore it.") from error


@cache
def _plain_words() -> tuple[str, ...]:
    """Return the everyday words that no held-out prompt for repeating is made of, so that none is met in training."""
    held_out = " ".join((*COPY_HELD_OUT, *COPY_FURTHER)).lower()
    return tuple(sorted(set(_common_words()) - set(re.findall("[a-z]+", held_out))))


def common_words() -> list[str]:
    """Return a list of everyday English words, to be used as arbitrary answers."""
    return list(_common_words())
