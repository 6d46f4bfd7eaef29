"""Small pieces of English grammar: articles, number, capitals and nouns of categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from liveedit.world.catalogue import Glyph, glyphs


def _names(text: str) -> frozenset[str]:
    """Split a list of names that is written as one text, to keep the tables short."""
    return frozenset(text.split(", "))


NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

# The noun by which a thing of a category is called, where it is not the category's own name.
NOUNS: Mapping[str, str] = {
    "clothing": "piece of clothing",
    "sport": "sports item",
    "weather": "weather symbol",
}
PLURALS: Mapping[str, str] = {
    "clothing": "pieces of clothing",
    "food": "foods",
    "person": "people",
    "body part": "body parts",
    "vegetable": "vegetables",
}

# Asking for one of these is unclear when one of the others is in the picture, too.
OVERLAPS: Mapping[str, frozenset[str]] = {
    "animal": frozenset({"bird", "sea creature", "insect"}),
    "food": frozenset({"fruit", "vegetable", "dessert"}),
    "dessert": frozenset({"fruit", "food"}),
    "fruit": frozenset({"vegetable"}),
    "plant": frozenset({"fruit", "vegetable"}),
    "tool": frozenset({"household object", "electronic device"}),
    "household object": frozenset({"tool", "electronic device"}),
    "electronic device": frozenset({"tool", "household object", "musical instrument"}),
    "person": frozenset({"face", "body part"}),
    "face": frozenset({"person", "animal"}),
    "symbol": frozenset({"flag", "weather", "body part"}),
    "weather": frozenset({"symbol"}),
    "flag": frozenset({"symbol"}),
    "clothing": frozenset({"sport"}),
}
LIVING = ("animal", "bird", "sea creature", "insect")

# Names that also fit other members of their category, so that "Is there a bird?" is unclear
# beside an owl.
GENERIC = _names(
    "bird, fish, man, woman, boy, girl, tree, train, car, ship, house, face, star, tower, sweet, pie, book, flat, key"
)

_THE = frozenset({"kaaba", "milky way", "sun", "earth", "statue of liberty"})
_BARE = frozenset({"mount fuji", "santa claus", "mrs claus"})
_MASS = _names(
    "bread, cheese, bacon, butter, salt, popcorn, stew, curry, corn, lettuce, broccoli, garlic, "
    "ginger, canned food, shaved ice, sushi, spaghetti, oden, coffee, green tea, sake, champagne, "
    "wine, beer, whisky, mate tea, bubble tea, soap, thread, yarn, toilet paper, coral, bamboo, "
    "fire, lightning, paella, ice cream, noodle soup, custard, meat on bone, bowling, field hockey, "
    "ice hockey, lacrosse, table tennis, badminton, poop, dna, yin and yang, no entry, "
    "bow and arrow, flatbread"
)
_PLURAL = frozenset({"skis", "dice", "thumbs up", "thumbs down"})
_SINGULAR_ENDINGS = ("ss", "us", "is", "os")
_CONSONANT_SOUND = ("uni", "one", "eu", "uk")
_PROPER = _names("fuji, claus, santa, mrs, christmas, japanese, american, hindu")
_COUNTRIES_WITH_THE = _names(
    "bahamas, czech republic, dominican republic, maldives, netherlands, philippines, seychelles, "
    "united arab emirates, united kingdom, united states"
)
_SMALL = frozenset({"and", "of", "the"})

# Parts of made-up words.
_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "gl", "h", "k", "l", "m", "n", "p", "qu", "r", "s", "st", "t", "tr", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ia", "ou")
_CODAS = ("", "", "l", "n", "r", "s", "x", "nd", "rk", "us")


def a_or_an(words: str) -> str:
    """Put "a" or "an" before some words."""
    vowel = words.startswith("hour") or (words[0] in "aeiou" and not words.startswith(_CONSONANT_SOUND))
    return f"{'an' if vowel else 'a'} {words}"


def title(words: str) -> str:
    """Write a name with capitals, "New Delhi"."""
    return " ".join(w if w in _SMALL else w[:1].upper() + w[1:] for w in words.split())


def unheard(rng: Random) -> str:
    """Make up a word that looks like one and is none, for names that no tokenizer knows whole."""
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((2, 2, 3)))]
    return "".join(parts)


def capital_first(words: str) -> str:
    """Write the first letter as a capital and leave the rest alone."""
    return words[:1].upper() + words[1:]


def listed(parts: Sequence[str]) -> str:
    """Join parts as in speech, "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def country_phrase(country: str) -> str:
    """Write a country as it stands in a sentence, in lower case: "the netherlands"."""
    return f"the {country}" if country in _COUNTRIES_WITH_THE else country


def noun_of(category: str) -> str:
    """Return the noun for one thing of a category."""
    return NOUNS.get(category, category)


def nouns_of(category: str) -> str:
    """Return the noun for several things of a category."""
    return PLURALS.get(category, f"{noun_of(category)}s")


def is_plural(name: str) -> bool:
    """Say whether a name takes "are": "grapes" does, "a row of houses" does not."""
    # Only the word before a preposition decides: "row of houses", "man with turban".
    words = name.split()
    for index, word in enumerate(words):
        if word in ("of", "with", "in", "on", "behind") and index:
            words = words[:index]
            break
    if name in _PLURAL:
        return True
    return words[-1].endswith("s") and not words[-1].endswith(_SINGULAR_ENDINGS)


@dataclass(frozen=True)
class Named:
    """A glyph with the forms in which its name appears in sentences.

    Each form comes twice: all in lower case, and with capitals for proper names.
    """

    glyph: Glyph
    words: frozenset[str]
    plural: bool
    indefinite: tuple[str, str]  # "a cat", "grapes", "the flag of japan"
    definite: tuple[str, str]  # "the cat"
    facts: tuple[str, ...]


def _name(glyph: Glyph) -> Named:
    """Work out the forms of one glyph's name."""
    name = glyph.name
    shown = " ".join(title(w) if w in _PROPER else w for w in name.split())
    if glyph.category == "flag":
        country = country_phrase(name.removeprefix("flag of "))
        pair = (f"the flag of {country}", f"the flag of {title(country)}")
        indefinite = definite = pair
    elif name in _THE or name in _BARE:
        article = "the " if name in _THE else ""
        indefinite = definite = (article + name, article + shown)
    else:
        definite = (f"the {name}", f"the {shown}")
        bare = name in _MASS or is_plural(name)
        indefinite = (name, shown) if bare else (a_or_an(name), f"{a_or_an(name).split()[0]} {shown}")
    return Named(
        glyph=glyph,
        words=frozenset(w.rstrip("s") for w in name.split()),
        plural=is_plural(name) and glyph.category != "flag",
        indefinite=indefinite,
        definite=definite,
        facts=tuple(glyph.facts),
    )


@cache
def named() -> tuple[Named, ...]:
    """Return the forms of every glyph's name, in the catalogue's order."""
    return tuple(_name(glyph) for glyph in glyphs())
