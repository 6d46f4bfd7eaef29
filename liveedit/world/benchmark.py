"""The world's editing benchmark, written in the E-VQA file format with hard locality added.

A file never contradicts itself: no question is edited twice, no two edits share a picture's content (a
single glyph may come again when both the question and its true answer are others), and no locality question
asks what another edit of the file has changed. Each row is drawn after the ones before it, so a longer file
begins with the rows of a shorter one of the same seed and split.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from liveedit.types import WorldError
from liveedit.world.cases import Case, content_of, default_vocabulary, flippable, random_contents, sample_case
from liveedit.world.catalogue import glyphs
from liveedit.world.kinds import SPLITS
from liveedit.world.questions import sample_questions
from liveedit.world.scenes import Scene, render, sample_scene

SIDE = 112
PICTURES = "images"
STREAMS = {"train": 3_000_005, "eval": 3_000_004, "scenes": 3_000_006}
QUESTIONS = 6  # on each picture of a folder of scenes
MAX_ATTEMPTS = 20_000

Progress = Callable[[int, int, str], None]
Content = tuple[tuple[int, str], ...]
Meaning = tuple[str, ...]


@dataclass
class Consistency:
    """What the accepted cases edit and what their locality questions rely on."""

    edited: dict[Content, list[tuple[Meaning, str]]] = field(default_factory=dict)
    probed: set[tuple[Content, Meaning]] = field(default_factory=set)

    def allows(self, case: Case) -> bool:
        """Whether a case contradicts none of those accepted so far."""
        before = self.edited.get(case.content, [])
        if before and len(case.content) > 1:
            return False
        if any(meaning == case.meaning or truth == case.truth for meaning, truth in before):
            return False
        if (case.content, case.meaning) in self.probed:
            return False
        asked = probes_of(case)
        return (case.content, case.meaning) not in asked and not any(self.edits(*probe) for probe in asked)

    def edits(self, content: Content, meaning: Meaning) -> bool:
        """Whether an accepted case changes the answer to this question on pictures of this content."""
        return any(meaning == changed for changed, _ in self.edited.get(content, []))

    def accept(self, case: Case) -> None:
        """Remember a case."""
        self.edited.setdefault(case.content, []).append((case.meaning, case.truth))
        self.probed.update(probes_of(case))


def probes_of(case: Case) -> list[tuple[Content, Meaning]]:
    """Content and meaning of every question whose answer the case's edit must leave alone."""
    return [(content_of(p.scene), p.meaning) for p in (case.unrelated, case.same_picture, case.near_miss)]


def benchmark_cases(count: int, seed: int, split: str) -> Iterator[Case]:
    """``count`` cases of a split that do not contradict each other, the same for the same seed."""
    if split not in SPLITS:
        raise WorldError(f"the split of a benchmark is {split!r}: choose {' or '.join(SPLITS)}")
    if count < 1:
        raise WorldError(f"a benchmark of {count} edits was asked for: ask for at least 1")
    if seed < 0:
        raise WorldError(f"the seed is {seed}: choose 0 or a larger number")
    pixels = np.random.default_rng([seed, STREAMS[split]])
    rng = Random(int(pixels.integers(2**62)))
    vocabulary, consistency = default_vocabulary(), Consistency()
    for number in range(count):
        for _ in range(MAX_ATTEMPTS):
            case = sample_case(rng, pixels, split, vocabulary)
            if consistency.allows(case):
                break
        else:
            raise WorldError(
                f"the world has room for only {number} edits that do not contradict each other: ask for fewer"
            )
        consistency.accept(case)
        yield case


def write_benchmark(out: Path, count: int, seed: int, split: str, progress: Progress | None = None) -> Path:
    """Write ``world_<split>.json`` and its pictures to the folder ``out``; returns the JSON file's path.

    Picture names in the file are relative to ``out``. ``progress`` is called with (done, total, label).
    """
    out = Path(out)
    rows: list[dict[str, Any]] = []
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(benchmark_cases(count, seed, split)):
            rows.append(_write_case(out, f"{split}_{number:05d}", case))
            if progress is not None:
                progress(number + 1, count, "drawing the benchmark")
        path = out / f"world_{split}.json"
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise WorldError(
            f"the benchmark cannot be written to {out} ({error}): free some space or choose another folder"
        ) from error
    return path


def _write_case(out: Path, name: str, case: Case) -> dict[str, Any]:
    """Draw one case's pictures and return its row of the file."""
    shown = {
        "edit": case.scene,
        "redrawn": case.redrawn,
        "m_loc": case.unrelated.scene,
        "near": case.near_miss.scene,
    }
    files = {part: f"{PICTURES}/{name}_{part}.png" for part in shown}
    for part, scene in shown.items():
        _save(scene, out / files[part])
    return {
        "src": case.prompt,
        "pred": case.truth,
        "rephrase": case.rephrase,
        "alt": case.target,
        "image": files["edit"],
        "image_rephrase": files["redrawn"],
        "loc": case.text.prompt,
        "loc_ans": case.text.answer,
        "m_loc": files["m_loc"],
        "m_loc_q": case.unrelated.prompt,
        "m_loc_a": case.unrelated.truth,
        "hard": [
            {
                "kind": "same_picture",
                "image": files["edit"],
                "q": case.same_picture.prompt,
                "a": case.same_picture.truth,
            },
            {
                "kind": "near_miss",
                "image": files["near"],
                "q": case.near_miss.prompt,
                "a": case.near_miss.truth,
            },
        ],
    }


def _save(scene: Scene, path: Path) -> None:
    """Draw a scene into a PNG file; light compression, since grain hardly packs and time counts."""
    Image.fromarray(render(scene, SIDE)).save(path, compress_level=1)


def write_scenes(out: Path, count: int, seed: int, progress: Progress | None = None) -> Path:
    """Write ``count`` pictures and questions on each to ``out``; returns the path of ``scenes.json``."""
    out = Path(out)
    if count < 1:
        raise WorldError(f"{count} scenes were asked for: ask for at least 1")
    if seed < 0:
        raise WorldError(f"the seed is {seed}: choose 0 or a larger number")
    pixels = np.random.default_rng([seed, STREAMS["scenes"]])
    rng = Random(int(pixels.integers(2**62)))
    rows: list[dict[str, Any]] = []
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            scene = sample_scene(pixels, random_contents(rng, rng.choice((1, 2, 3, 4))), flippable)
            name = f"{PICTURES}/scene_{number:05d}.png"
            _save(scene, out / name)
            questions = sample_questions(scene, rng, QUESTIONS)
            rows.append(
                {
                    "image": name,
                    "objects": [{"name": glyphs()[o.glyph].name, "slot": o.slot} for o in scene.objects],
                    "questions": [{"kind": q.kind, "q": q.prompt, "a": q.answer} for q in questions],
                }
            )
            if progress is not None:
                progress(number + 1, count, "drawing scenes")
        path = out / "scenes.json"
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise WorldError(
            f"the scenes cannot be written to {out} ({error}): free some space or choose another folder"
        ) from error
    return path
