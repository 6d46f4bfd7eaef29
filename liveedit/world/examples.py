"""The example pictures of the page: a fixed choice of scenes, drawn once and kept in ``assets/examples``.

``python -m liveedit.world.examples`` draws them again; the same code always gives the same pictures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from liveedit.types import WorldError
from liveedit.world.catalogue import ASSETS, by_name
from liveedit.world.questions import PLACES
from liveedit.world.scenes import Ground, Scene, render, sample_scene

SIDE = 448  # pixels
TABLE = "examples.json"
FOLDER = "examples"


@dataclass(frozen=True)
class Example:
    """One example picture: its file below the assets folder, what it shows, and what one may ask."""

    file: str
    title: str
    alt: str
    questions: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """What an example shows (glyphs by name, on a ground), and the questions on it.

    ``{first}`` and ``{last}`` in a question become the place of the first and the last object.
    """

    title: str
    glyphs: tuple[str, ...]
    ground: Ground
    seed: int
    questions: tuple[str, ...]


PLANS: tuple[_Plan, ...] = (
    _Plan("Fox", ("fox",), Ground("gradient", "blue", 3), 4,
          ("What is this?", "Where does this animal live?", "What colour is the fox?")),
    _Plan("Guitar", ("guitar",), Ground("plain", "yellow", 1), 0,
          ("What is this?", "What kind of thing is this?", "Describe the picture.")),
    _Plan("Penguin", ("penguin",), Ground("gradient", "orange", 2), 7,
          ("What is this?", "Which bird is this?", "What colour is the background?")),
    _Plan("Pizza", ("pizza",), Ground("texture", "grey", 1), 9,
          ("What is this?", "What food is this?", "Is there a hamburger?")),
    _Plan("Sunflower", ("sunflower",), Ground("gradient", "purple", 1), 14,
          ("What is this?", "Which plant is this?", "What colour is the background?")),
    _Plan("Flag of Japan", ("flag of japan",), Ground("plain", "green", 4), 5,
          ("Which country does this flag belong to?", "What is the capital of this country?",
           "What currency is used in this country?")),
    _Plan("Flag of Brazil", ("flag of brazil",), Ground("gradient", "white", 1), 6,
          ("Which country does this flag belong to?", "On which continent is this country?",
           "What is the capital of this country?")),
    _Plan("Two flags", ("flag of france", "flag of south korea"), Ground("plain", "yellow", 3), 23,
          ("What is {first}?", "What is the capital of the country whose flag is {first}?", "How many flags are there?")),
    _Plan("Cat and umbrella", ("cat", "umbrella"), Ground("plain", "green", 2), 1,
          ("What is {first}?", "What is {last}?", "Where is the cat?")),
    _Plan("Rocket and moon", ("rocket", "crescent moon"), Ground("gradient", "black", 5), 2,
          ("What is {first}?", "How many objects are there?", "Describe the picture.")),
    _Plan("Elephant and mouse", ("elephant", "mouse"), Ground("texture", "pink", 2), 3,
          ("What is {first}?", "How many animals are there?", "Where is the mouse?")),
    _Plan("Three fruits", ("banana", "strawberry", "pear"), Ground("gradient", "blue", 9), 1,
          ("How many fruits are there?", "What is {first}?", "Is there a banana?")),
    _Plan("Robot, key and crown", ("robot", "key", "crown"), Ground("texture", "brown", 2), 2,
          ("What is {last}?", "How many objects are there?", "Where is the key?")),
    _Plan("Four things", ("bicycle", "house", "dog", "tree"), Ground("plain", "white", 6), 1,
          ("What is {first}?", "How many objects are there?", "Where is the dog?")),
    _Plan("Four from the sea", ("octopus", "crab", "dolphin", "tropical fish"), Ground("gradient", "green", 8), 2,
          ("What is {last}?", "What is {first}?", "Describe the picture.")),
)  # fmt: skip


def draw(plan: _Plan) -> tuple[Scene, Image.Image]:
    """The scene of a plan and its picture."""
    names = by_name()
    missing = [name for name in plan.glyphs if name not in names]
    if missing:
        raise WorldError(f"The example {plan.title!r} needs glyphs that the catalogue lacks: {', '.join(missing)}.")
    scene = sample_scene(np.random.default_rng(plan.seed), [names[name].index for name in plan.glyphs])
    # Without grain a picture is a quarter of the size on disk and looks no worse to people.
    scene = replace(scene, ground=plan.ground, noise=0.0, brightness=1.0)
    return scene, Image.fromarray(render(scene, SIDE))


def alt_text(plan: _Plan, scene: Scene) -> str:
    """What the picture shows, for those who do not see it: "cat on the left, umbrella on the right"."""
    if len(plan.glyphs) == 1:
        return f"{plan.glyphs[0]} on a {scene.ground.colour} ground"
    placed = zip(plan.glyphs, scene.objects, strict=True)
    things = ", ".join(f"{name} {PLACES[thing.slot][0]}" for name, thing in placed)
    return f"{things}, on a {scene.ground.colour} ground"


def write_examples(out: Path) -> int:
    """Draw all examples into ``out/examples`` and describe them in ``out/examples.json``; returns how many."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    rows = []
    for plan in PLANS:
        scene, picture = draw(plan)
        file = f"{FOLDER}/{plan.title.lower().replace(',', '').replace(' ', '-')}.png"
        picture.save(out / file, optimize=True)
        first, last = (PLACES[scene.objects[i].slot][0] for i in (0, -1))
        questions = tuple(q.format(first=first, last=last) for q in plan.questions)
        rows.append(Example(file, plan.title, alt_text(plan, scene), questions))
    text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    (out / TABLE).write_text(text, encoding="utf-8")
    return len(rows)


def read_examples(assets: Path = ASSETS) -> list[Example]:
    """The examples that ``assets`` holds; raises :class:`WorldError` when they are missing or damaged."""
    try:
        rows: Sequence[Mapping[str, object]] = json.loads((assets / TABLE).read_text(encoding="utf-8"))
        examples = [
            Example(str(r["file"]), str(r["title"]), str(r["alt"]), tuple(str(q) for q in list(r["questions"])))  # type: ignore[call-overload]
            for r in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorldError(
            f"The table of examples {assets / TABLE} is missing or damaged: "
            "draw them again with `python -m liveedit.world.examples`."
        ) from error
    lacking = [e.file for e in examples if not (assets / e.file).is_file()]
    if lacking:
        raise WorldError(f"The example picture {assets / lacking[0]} is missing: restore the assets folder.")
    return examples


if __name__ == "__main__":
    try:
        print(f"{write_examples(ASSETS)} example pictures written to {ASSETS / FOLDER}")
    except (WorldError, OSError) as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
