"""A benchmark on photographs: natural questions and answers, on pictures that no training has seen.

Pictures come from the archive's test split, questions, rephrasings and answers from the annotations that
are held out of all training (:func:`liveedit.data.annotations.read_exchanges`, split "eval").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from liveedit.data.annotations import read_exchanges
from liveedit.types import DataError
from liveedit.world.photos import PhotoSet, render_photo
from liveedit.world.questions import ask_text, photo_question

SIDE = 112
STREAM = 3_000_008
UNKNOWN = "not annotated"

Progress = Callable[[int, int, str], None]


def cropped(picture: Image.Image, rng: Random) -> Image.Image:
    """Between 75 and 90 % of each side, scaled back to the full size."""
    width, height = picture.size
    share = rng.uniform(0.75, 0.9)
    left, top = (rng.uniform(0, (1 - share) * side) for side in (width, height))
    box = (left, top, left + share * width, top + share * height)
    return picture.resize((width, height), Image.Resampling.BICUBIC, box)


def flipped(picture: Image.Image, rng: Random) -> Image.Image:
    """Mirrored left to right."""
    return ImageOps.mirror(picture)


def relit(picture: Image.Image, rng: Random) -> Image.Image:
    """Darker or brighter by a quarter, with more or less contrast."""
    brightness = rng.choice((rng.uniform(0.7, 0.85), rng.uniform(1.15, 1.3)))
    return ImageEnhance.Contrast(ImageEnhance.Brightness(picture).enhance(brightness)).enhance(rng.uniform(0.75, 1.25))


def blurred(picture: Image.Image, rng: Random) -> Image.Image:
    """Out of focus: a Gaussian blur of 1 to 2 % of the width."""
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.01, 0.02) * picture.width))


ALTERATIONS = (cropped, flipped, relit, blurred)


def write_photo_benchmark(
    out: Path, count: int, seed: int, photos: Path, annotations: Sequence[Path], progress: Progress | None = None
) -> Path:
    """Write ``count`` edits in the E-VQA format, pictures included, to the folder ``out``; returns the JSON's path.

    Each edit is a photograph with an annotated question (``src``, ``rephrase``) and its annotated answer
    (``alt``); ``image_rephrase`` is the photograph cropped, flipped, relit or blurred, in turn. Locality is
    another photograph with another question; hard locality is the same photograph asked what it shows, and the
    edit's question on another photograph of the same class. No photograph is edited twice.
    """
    if count < 1:
        raise DataError(f"{count} edits were asked for: ask for at least 1")
    if seed < 0:
        raise DataError(f"the seed is {seed}: choose 0 or a larger number")
    archive = PhotoSet(photos, "test")
    exchanges = read_exchanges(annotations, "eval")
    most = min(len(archive) // 3, len(exchanges) - 1)
    if count > most:
        raise DataError(
            f"the held-out photographs and annotations give at most {max(most, 0)} edits: ask for {max(most, 1)} or "
            "fewer, or give more annotation files"
        )
    rng = Random(int(np.random.default_rng([seed, STREAM]).integers(2**62)))
    order = rng.sample(range(len(archive)), len(archive))
    edited, spare = order[:count], order[count:]
    asked = rng.sample(exchanges, count)
    alike: dict[int, list[int]] = {}
    for index in spare:
        alike.setdefault(int(archive.labels[index]), []).append(index)
    rows: list[dict[str, Any]] = []
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        for number, (index, (question, rephrased, answer)) in enumerate(zip(edited, asked, strict=True)):

            def save(part: str, picture: Image.Image, number: int = number) -> str:
                name = f"images/photo_{number:05d}_{part}.png"
                picture.save(out / name)
                return name

            def view(index: int) -> Image.Image:
                return Image.fromarray(render_photo(archive.images[index], SIDE))

            image = save("edit", view(index))
            elsewhere = rng.choice([e for e in rng.sample(exchanges, 2) if e[0] != question] or exchanges[:1])
            shows = photo_question(archive.answer(index), rng, "eval")
            text = ask_text(rng, "eval")
            rows.append(
                {
                    "src": question,
                    "pred": archive.answer(index),
                    "rephrase": rephrased,
                    "alt": answer,
                    "image": image,
                    "image_rephrase": save("altered", ALTERATIONS[number % len(ALTERATIONS)](view(index), rng)),
                    "loc": text.prompt,
                    "loc_ans": text.answer,
                    "m_loc": save("m_loc", view(rng.choice(spare))),
                    "m_loc_q": elsewhere[0],
                    "m_loc_a": elsewhere[2],
                    "hard": [
                        {"kind": "same_picture", "image": image, "q": shows.prompt, "a": shows.answer},
                        {
                            "kind": "near_miss",
                            "image": save("near", view(rng.choice(alike[int(archive.labels[index])]))),
                            "q": question,
                            "a": UNKNOWN,
                        },
                    ],
                }
            )
            if progress is not None:
                progress(number + 1, count, "writing the benchmark")
        path = out / "photos_eval.json"
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"the benchmark cannot be written to {out} ({error}): free some space or choose another folder"
        ) from error
    return path
