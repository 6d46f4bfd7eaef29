"""The lifelong protocol: apply N edits one after another, then test all N (paper, Section 5.1).

Prompts of a benchmark carry the answer's cue themselves, so nothing here uses a chat template. Everything is
asked of the unedited model as well: its numbers are the floor that every table shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from PIL.Image import Image

from liveedit.data import Sample
from liveedit.editors.liveedit import LiveEdit
from liveedit.evaluation.metrics import (
    OwnExpert,
    agreement,
    bootstrap_interval,
    contains,
    exact_match,
    mean,
    own_expert,
    percent,
    token_f1,
)
from liveedit.evaluation.portability import NOTE as PORTABILITY
from liveedit.evaluation.portability import portability
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Edit, InputError, Query

FORMAT = "liveedit-evaluation-1"
CHUNK = 32  # samples whose pictures are in memory at once
TIMED = 20
MAX_NEW_TOKENS = 32
EDITED_QUERIES = ("rel", "t_gen", "m_gen")
PAPER = ("rel", "t_gen", "m_gen", "t_loc", "m_loc")
TEXT_MEASURES = {"exact": exact_match, "contains": contains, "f1": token_f1}
NOTES = {
    "t_loc": "100 by construction: without a picture nothing is routed, and the unedited model answers",
    "paper": "teacher-forced argmax, mean over samples of the share of tokens, in percent; locality is "
    "agreement with the unedited model, whose own is 100 by definition",
    "generation": "greedy answers that stop by themselves, in percent; contains and f1 count words",
    "routing": "precision is the own expert's share of those that passed, over questions where any passed",
    "repository_bytes": "tensors of the experts, without their pictures",
}

Progress = Callable[[int, int, str], None]
Values = dict[str, list[float]]


@dataclass
class _Tally:
    """Values in 0..1 of every sample, collected chunk by chunk."""

    paper: Values = field(default_factory=lambda: {name: [] for name in PAPER})
    texts: dict[str, Values] = field(
        default_factory=lambda: {query: {measure: [] for measure in TEXT_MEASURES} for query in EDITED_QUERIES}
    )
    m_loc_same: list[float] = field(default_factory=list)
    hard: Values = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The table of one model, in percent."""
        paper = {name: percent(values) for name, values in self.paper.items()}
        paper["average"] = percent(self.averages())
        generation: dict[str, Any] = {
            query: {name: percent(values) for name, values in measures.items()}
            for query, measures in self.texts.items()
        }
        generation["m_loc_same"] = percent(self.m_loc_same)
        hard: dict[str, Any] = {kind: percent(self.hard.get(kind, [])) for kind in ("same_picture", "near_miss")}
        hard["all"] = percent([value for values in self.hard.values() for value in values])
        hard["probes"] = sum(len(values) for values in self.hard.values())
        return {"paper": paper, "generation": generation, "hard_locality": hard}

    def averages(self) -> list[float]:
        """Each sample's average over the five numbers of the paper."""
        return [float(v) for v in np.mean([self.paper[name] for name in PAPER], axis=0)]


@dataclass
class _Routed:
    """What routing did on the questions that should meet their edit, and on those that should not."""

    own: dict[str, list[OwnExpert]] = field(default_factory=lambda: {query: [] for query in EDITED_QUERIES})
    m_loc_passed: list[int] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """The routing section of the result."""
        groups = {**self.own, "all": [o for rows in self.own.values() for o in rows]}
        return {
            "recall": {name: percent([o.recall for o in rows]) for name, rows in groups.items()},
            "precision": {
                name: percent([o.precision for o in rows if o.precision is not None]) for name, rows in groups.items()
            },
            "passed_mean": {name: mean([o.passed for o in rows]) for name, rows in groups.items()},
            "own_heaviest": {name: percent([o.heaviest for o in rows]) for name, rows in groups.items()},
            "m_loc_nothing_passed": percent([float(count == 0) for count in self.m_loc_passed]),
            "m_loc_passed_mean": mean(self.m_loc_passed),
        }


def evaluate(
    editor: LiveEdit, samples: Sequence[Sample], seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Apply every sample's edit, then test them all; returns one JSON-able object.

    Keys (shares in percent, None where there was nothing to measure):

    - ``format``, ``edits`` (N), ``seed``, ``backbone`` (fingerprint)
    - ``edited`` and ``unedited``, each with
      ``paper``: ``rel``, ``t_gen``, ``m_gen``, ``t_loc``, ``m_loc``, ``average``;
      ``generation``: for ``rel``, ``t_gen``, ``m_gen`` each ``exact``, ``contains``, ``f1``; ``m_loc_same``
      (written answers identical to the unedited model's);
      ``hard_locality``: ``same_picture``, ``near_miss``, ``all`` (identical answers), ``probes`` (how many)
    - ``interval``: ``average`` [low, high], 95 % bootstrap over samples of the edited model's average
    - ``routing``: ``recall``, ``precision``, ``passed_mean``, ``own_heaviest``, each for ``rel``, ``t_gen``,
      ``m_gen`` and ``all``; ``m_loc_nothing_passed``, ``m_loc_passed_mean``
    - ``cost``: ``seconds_per_edit``, ``seconds_per_answer_edited``, ``seconds_per_answer_unedited`` (medians
      of single calls), ``timed`` (how many), ``repository_bytes``
    - ``portability``, only when samples carry such questions: see :mod:`liveedit.evaluation.portability`
    - ``notes``: what a number means, by name

    ``progress`` is called with (done, total, label). The seed only draws the bootstrap's resamples.
    """
    if not samples:
        raise InputError("there are no samples to evaluate: give a benchmark with at least one")
    if seed < 0:
        raise InputError(f"the seed is {seed}: choose 0 or a larger number")
    timed = min(TIMED, len(samples))
    carrying = sum(bool(sample.portability) for sample in samples)
    total = 2 * len(samples) + 2 * timed + carrying
    report = progress or (lambda done, total, label: None)
    repository = ExpertRepository.empty(editor.config)
    ids: list[str] = []
    for start in range(0, len(samples), CHUNK):
        ids += editor.edit(repository, [_edit_of(s) for s in samples[start : start + CHUNK]], template=False)
        repository.forget_pictures()
        report(len(ids), total, "editing")
    edited, unedited, routed = _Tally(), _Tally(), _Routed()
    for start in range(0, len(samples), CHUNK):
        part = samples[start : start + CHUNK]
        pictures = [_Pictures.of(s) for s in part]
        _teacher_forced(editor, repository, part, pictures, edited, unedited)
        _written(editor, repository, part, pictures, ids[start : start + CHUNK], edited, unedited, routed)
        report(len(ids) + start + len(part), total, "testing")
    cost = _cost(editor, repository, samples[:timed], lambda done: report(2 * len(samples) + done, total, "timing"))
    low, high = bootstrap_interval(edited.averages(), seed)
    result: dict[str, Any] = {
        "format": FORMAT,
        "edits": len(samples),
        "seed": seed,
        "backbone": editor.backbone.fingerprint,
        "edited": edited.report(),
        "unedited": unedited.report(),
        "interval": {"average": [round(100 * low, 2), round(100 * high, 2)]},
        "routing": routed.report(),
        "cost": cost,
        "notes": dict(NOTES),
    }
    if carrying:
        result["portability"] = portability(
            editor, repository, samples, MAX_NEW_TOKENS, lambda done: report(total - carrying + done, total, "portability")
        )
        result["notes"]["portability"] = PORTABILITY
    return result


@dataclass(frozen=True)
class _Pictures:
    """The opened pictures of one sample."""

    edit: Image
    redrawn: Image
    m_loc: Image
    hard: tuple[Image, ...]

    @classmethod
    def of(cls, sample: Sample) -> _Pictures:
        hard = tuple(probe.image.open() for probe in sample.hard)
        return cls(sample.image.open(), sample.image_rephrase.open(), sample.m_loc.open(), hard)


def _edit_of(sample: Sample) -> Edit:
    return Edit(sample.image.open(), sample.src, sample.alt)


def _questions(sample: Sample, pictures: _Pictures) -> list[Query]:
    """The three questions that shall show the edit, and the unrelated one on another picture."""
    return [
        Query(pictures.edit, sample.src),
        Query(pictures.edit, sample.rephrase),
        Query(pictures.redrawn, sample.src),
        Query(pictures.m_loc, sample.m_loc_q),
    ]


def _teacher_forced(
    editor: LiveEdit,
    repository: ExpertRepository,
    samples: Sequence[Sample],
    pictures: Sequence[_Pictures],
    edited: _Tally,
    unedited: _Tally,
) -> None:
    """The paper's five numbers of some samples, for both models."""
    queries, targets = [], []
    for sample, shown in zip(samples, pictures, strict=True):
        queries += [*_questions(sample, shown), Query(None, sample.loc)]
        targets += [sample.alt] * 3 + [sample.m_loc_a, sample.loc_ans]
    after = editor.predict(repository, queries, targets, template=False)
    before = editor.predict(None, queries, targets, template=False)
    order = (*EDITED_QUERIES, "m_loc", "t_loc")
    for number, (new, old) in enumerate(zip(after, before, strict=True)):
        name = order[number % len(order)]
        if name in EDITED_QUERIES:
            edited.paper[name].append(new.agreement)
            unedited.paper[name].append(old.agreement)
        else:
            edited.paper[name].append(agreement(new.predicted, old.predicted))
            unedited.paper[name].append(1.0)


def _written(
    editor: LiveEdit,
    repository: ExpertRepository,
    samples: Sequence[Sample],
    pictures: Sequence[_Pictures],
    ids: Sequence[str],
    edited: _Tally,
    unedited: _Tally,
    routed: _Routed,
) -> None:
    """Free generation, hard locality and routing of some samples."""
    queries: list[Query] = []
    for sample, shown in zip(samples, pictures, strict=True):
        queries += _questions(sample, shown)
        queries += [Query(p, probe.question) for p, probe in zip(shown.hard, sample.hard, strict=True)]
    after = iter(_answers(editor, repository, queries))
    before = iter(_answers(editor, None, queries))
    for sample, expert_id in zip(samples, ids, strict=True):
        for name in EDITED_QUERIES:
            new, old = next(after), next(before)
            for measure, score in TEXT_MEASURES.items():
                edited.texts[name][measure].append(score(new.text, sample.alt))
                unedited.texts[name][measure].append(score(old.text, sample.alt))
            routed.own[name].append(own_expert(new.trace, expert_id))
        new, old = next(after), next(before)
        routed.m_loc_passed.append(len(new.trace.passed))
        edited.m_loc_same.append(float(new.text == old.text))
        unedited.m_loc_same.append(1.0)
        for probe in sample.hard:
            new, old = next(after), next(before)
            edited.hard.setdefault(probe.kind, []).append(float(new.text == old.text))
            unedited.hard.setdefault(probe.kind, []).append(1.0)


def _answers(editor: LiveEdit, repository: ExpertRepository | None, queries: Sequence[Query]) -> list[Answer]:
    return editor.answer(repository, queries, max_new_tokens=MAX_NEW_TOKENS, template=False)


def _cost(
    editor: LiveEdit, repository: ExpertRepository, samples: Sequence[Sample], done: Callable[[int], None]
) -> dict[str, Any]:
    """Seconds of single edits and of single answers, edited and unedited in turn, after a warm-up of each."""
    edits: list[float] = []
    edited: list[float] = []
    unedited: list[float] = []
    scratch = ExpertRepository.empty(editor.config)
    first = _edit_of(samples[0])
    editor.edit(scratch, [first], template=False)
    for number, sample in enumerate(samples):
        edit = _edit_of(sample)
        start = perf_counter()
        editor.edit(scratch, [edit], template=False)
        edits.append(perf_counter() - start)
        done(number + 1)
    for repo in (repository, None):
        editor.answer(repo, Query(first.image, first.prompt), max_new_tokens=MAX_NEW_TOKENS, template=False)
    for number, sample in enumerate(samples):
        query = Query(sample.image.open(), sample.src)
        # The order is swapped each time, so that neither model always meets the warmer cache.
        for repo in (repository, None) if number % 2 == 0 else (None, repository):
            start = perf_counter()
            editor.answer(repo, query, max_new_tokens=MAX_NEW_TOKENS, template=False)
            (unedited if repo is None else edited).append(perf_counter() - start)
        done(len(samples) + number + 1)
    return {
        "seconds_per_edit": round(median(edits), 5),
        "seconds_per_answer_edited": round(median(edited), 5),
        "seconds_per_answer_unedited": round(median(unedited), 5),
        "timed": len(samples),
        "repository_bytes": repository.nbytes(),
    }
