"""Edits that disagree, repeat each other or are noisy: whose answer does the model give afterwards?

Each condition applies its edits to a state of its own, in order, and then asks every case's question on the edit's
own picture and on the redrawn one. A rival answer is another case's new answer, so it is as hard to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from liveedit.data import Sample
from liveedit.data.evqa import ANSWER_CUE, with_cue
from liveedit.editors import Editor
from liveedit.evaluation.asking import (
    BATCH,
    MAX_NEW_TOKENS,
    answers_of,
    apply_edits,
    check_batch_size,
    predictions_of,
)
from liveedit.evaluation.benchmarks import Source
from liveedit.evaluation.metrics import normalised
from liveedit.evaluation.store import BLOCK, claim_folder, read_json, write_json
from liveedit.evaluation.summary import Resamples
from liveedit.types import Edit, InputError, Query

FORMAT = "liveedit-conflicts-1"
RESULT = "study.json"
STREAM = 3_000_012
NOISE = 0.15  # standard deviation of the grain on a noisy picture, as a share of full scale
WRONG_SHARE = 5  # one edit in so many has a wrong answer
QUESTIONS = ("rel", "m_gen")
OUTCOMES = ("first", "later", "unedited", "other")

Progress = Callable[[int, int, str], None]
Recipe = Callable[[Sequence[Sample], Sequence[str], np.random.Generator], Iterator[Edit]]


def rivals_of(samples: Sequence[Sample]) -> list[str]:
    """For each sample another one's new answer, different from its own and from what is true."""
    rivals = []
    for number, sample in enumerate(samples):
        taken = {normalised(sample.alt), normalised(sample.pred)}
        others = [*samples[number + 1 :], *samples[:number]]
        rival = next((other.alt for other in others if normalised(other.alt) not in taken), None)
        if rival is None:
            raise InputError("every edit has the same new answer, so none contradicts another: give more edits")
        rivals.append(rival)
    return rivals


def noisy_picture(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture under Gaussian grain."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    grain = rng.normal(0.0, 255 * NOISE, pixels.shape)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def noisy_prompt(prompt: str, rng: np.random.Generator) -> str:
    """The prompt with two neighbouring letters swapped in every word of four letters and more; the cue stays whole."""
    words = []
    for word in prompt.removesuffix(ANSWER_CUE).split(" "):
        if len(word) >= 4:
            at = int(rng.integers(0, len(word) - 1))
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words.append(word)
    noisy = " ".join(words)
    return with_cue(noisy) if prompt.endswith(ANSWER_CUE) else noisy


def _once(samples: Sequence[Sample], rivals: Sequence[str], rng: np.random.Generator) -> Iterator[Edit]:
    return (Edit(s.image.open(), s.src, s.alt) for s in samples)


def _repeated(samples: Sequence[Sample], rivals: Sequence[str], rng: np.random.Generator) -> Iterator[Edit]:
    again = (Edit(s.image_rephrase.open(), s.rephrase, s.alt) for s in samples)
    return chain(_once(samples, rivals, rng), again)


def _contradicted(samples: Sequence[Sample], rivals: Sequence[str], rng: np.random.Generator) -> Iterator[Edit]:
    later = (Edit(s.image.open(), s.src, rival) for s, rival in zip(samples, rivals, strict=True))
    return chain(_once(samples, rivals, rng), later)


def _contradicted_nearby(samples: Sequence[Sample], rivals: Sequence[str], rng: np.random.Generator) -> Iterator[Edit]:
    later = (Edit(s.image_rephrase.open(), s.rephrase, rival) for s, rival in zip(samples, rivals, strict=True))
    return chain(_once(samples, rivals, rng), later)


def _noisy_pictures(samples: Sequence[Sample], rivals: Sequence[str], rng: np.random.Generator) -> Iterator[Edit]:
    return (Edit(noisy_picture(s.image.open(), rng), s.src, s.alt) for s in samples)


def _noisy_prompts(samples: Sequence[Sample], rivals: Sequence[str], rng: np.random.Generator) -> Iterator[Edit]:
    return (Edit(s.image.open(), noisy_prompt(s.src, rng), s.alt) for s in samples)


def _noisy_answers(samples: Sequence[Sample], rivals: Sequence[str], rng: np.random.Generator) -> Iterator[Edit]:
    return (
        Edit(s.image.open(), s.src, rival if number % WRONG_SHARE == 0 else s.alt)
        for number, (s, rival) in enumerate(zip(samples, rivals, strict=True))
    )


@dataclass(frozen=True)
class Condition:
    """What is applied, in words and as a recipe; ``spared`` leaves the wrongly answered edits out of the test.

    A recipe opens each edit's picture when the edit is taken, so that one block's are in memory at a time.
    """

    help: str
    recipe: Recipe
    spared: bool = False


CONDITIONS = {
    "once": Condition("every edit once", _once),
    "repeated": Condition("each edit again, reworded on the redrawn picture, with the same answer", _repeated),
    "contradicted": Condition("each edit again, same picture and prompt, with a rival answer", _contradicted),
    "contradicted nearby": Condition(
        "each edit again, reworded on the redrawn picture, with a rival answer", _contradicted_nearby
    ),
    "noisy pictures": Condition(
        f"edits made on pictures under grain of {NOISE:.0%}; asked on clean ones", _noisy_pictures
    ),
    "noisy prompts": Condition("edits made with swapped letters in every longer word; asked without", _noisy_prompts),
    "noisy answers": Condition(
        f"one edit in {WRONG_SHARE} with a rival answer; the others are asked", _noisy_answers, spared=True
    ),
}


def run_conflicts(
    editor: Editor[Any],
    source: Source,
    count: int,
    seeds: Sequence[int],
    folder: str | Path,
    name: str = "liveedit",
    progress: Progress | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = BATCH,
) -> dict[str, Any]:
    """Apply ``count`` cases per seed under every condition; returns the result, also written to ``folder/study.json``.

    For each condition and question (``rel``, ``m_gen``): how often the model says the ``first`` answer, the
    ``later`` rival, what the ``unedited`` model says, or something ``other`` (percent, they sum to 100);
    ``first_tokens`` and ``later_tokens``, the paper's teacher-forced metric for both answers; ``passed``, the mean
    number of experts, for editors that route. Each seed's condition is a file, so an interrupted study goes on.
    ``batch_size`` questions are asked at once.
    """
    check_batch_size(batch_size)
    if count < 2:
        raise InputError(f"{count} edits were asked for: a rival answer needs at least 2")
    if source.size is not None and count > source.size:
        raise InputError(f"{count:,} edits were asked for, the benchmark has {source.size:,}: ask for fewer")
    folder = Path(folder)
    settings = {
        "format": FORMAT,
        "benchmark": source.settings(),
        "backbone": editor.backbone.fingerprint,
        "editor": {"name": name, "fingerprint": editor.fingerprint},
        "edits": count,
        "seeds": list(seeds),
        "max_new_tokens": max_new_tokens,
    }
    claim_folder(folder, settings, "a study")
    report = progress or (lambda *_: None)
    total = len(seeds) * (len(CONDITIONS) + 1)
    rows: dict[str, list[dict[str, Any]]] = {label: [] for label in (*CONDITIONS, "unedited model")}
    labels: dict[str, list[int]] = {label: [] for label in rows}
    done = 0
    for seed in seeds:
        samples: Sequence[Sample] | None = None
        for label in rows:
            path = folder / "conditions" / f"{label.replace(' ', '-')}-seed{seed}.json"
            if path.exists():
                found = read_json(path, "tests")["tests"]
            else:
                if samples is None:
                    samples = source.draw(count, seed, report).samples
                found = _measure(editor, samples, CONDITIONS.get(label), seed, max_new_tokens, batch_size)
                write_json(path, {"tests": found})
            rows[label] += found
            labels[label] += [seed] * len(found)
            done += 1
            report(done, total, f"seed {seed}")
    result = {
        **settings,
        "study": "conflicts",
        "conditions": {
            label: {
                "help": CONDITIONS[label].help if label in CONDITIONS else "no edits",
                "tested": len(found),
                "values": _summary(found, labels[label]),
            }
            for label, found in rows.items()
        },
    }
    write_json(folder / RESULT, result)
    return result


def _measure(
    editor: Editor[Any],
    samples: Sequence[Sample],
    condition: Condition | None,
    seed: int,
    max_new_tokens: int,
    batch_size: int,
) -> list[dict[str, float]]:
    """The values of every case under a condition, or of the unedited model."""
    rivals = rivals_of(samples)
    state: Any = None
    if condition is not None:
        state = editor.empty()
        edits = condition.recipe(samples, rivals, np.random.default_rng([seed, STREAM]))
        while part := list(islice(edits, BLOCK)):
            apply_edits(editor, state, part)
    cases = list(zip(samples, rivals, strict=True))
    if condition is not None and condition.spared:
        cases = [case for number, case in enumerate(cases) if number % WRONG_SHARE]
    found: list[dict[str, float]] = []
    for start in range(0, len(cases), BLOCK):
        found += _ask(editor, state, cases[start : start + BLOCK], max_new_tokens, batch_size)
    return found


def _ask(
    editor: Editor[Any], state: Any, cases: Sequence[tuple[Sample, str]], max_new_tokens: int, batch_size: int
) -> list[dict[str, float]]:
    """Whose answer the model gives to some cases, on the edit's picture and on the redrawn one."""
    queries = [
        Query(picture.open(), sample.src) for sample, _ in cases for picture in (sample.image, sample.image_rephrase)
    ]
    after, before = (answers_of(editor, model, queries, max_new_tokens, batch_size) for model in (state, None))
    firsts = [sample.alt for sample, _ in cases for _ in QUESTIONS]
    laters = [rival for _, rival in cases for _ in QUESTIONS]
    first_tokens = predictions_of(editor, state, queries, firsts, batch_size)
    later_tokens = predictions_of(editor, state, queries, laters, batch_size)
    rows = []
    for case in range(len(cases)):
        row: dict[str, float] = {}
        for number, question in enumerate(QUESTIONS):
            at = case * len(QUESTIONS) + number
            outcome = _outcome(after[at].text, firsts[at], laters[at], before[at].text)
            row.update({f"{question}.{name}": float(name == outcome) for name in OUTCOMES})
            row[f"{question}.first_tokens"] = first_tokens[at].agreement
            row[f"{question}.later_tokens"] = later_tokens[at].agreement
            if after[at].trace.routed:
                row[f"{question}.passed"] = float(len(after[at].trace.passed))
        rows.append(row)
    return rows


def _outcome(said: str, first: str, later: str, unedited: str) -> str:
    """Whose answer was given."""
    by_text = {normalised(unedited): "unedited", normalised(later): "later", normalised(first): "first"}
    return by_text.get(normalised(said), "other")


def _summary(rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
    """Means with intervals; shares in percent."""
    resamples = Resamples(seeds)
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: resamples.interval([row.get(name) for row in rows], 1.0 if name.endswith(".passed") else 100.0)
        for name in names
    }
