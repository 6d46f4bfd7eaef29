"""Portability: questions on the edit's picture that follow from the edit (VLKEB, https://arxiv.org/abs/2403.07350).

A question may need a second edit besides, its *premise*. Premises join the run's edits in a copy of the state,
so that they touch no other figure; each is applied to the edit's picture, since an edit without one is never routed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from liveedit.data import Sample
from liveedit.editors import Editor
from liveedit.evaluation.asking import BATCH, TEXT_MEASURES, answers_of, apply_edits, predictions_of
from liveedit.evaluation.metrics import percent
from liveedit.types import Edit, Query

CHUNK = 32  # samples whose pictures are in memory at once
MEASURES = ("teacher_forced", *TEXT_MEASURES)
NOTE = (
    "questions on the edit's picture that follow from the edit, in percent; teacher_forced is the paper's metric; "
    "premises are second edits that some questions need, applied on the same picture for these questions alone"
)

Question = tuple[int, dict[str, float]]  # its number of hops, and its values in 0..1 by measure


@dataclass
class _Scores:
    """Values in 0..1 by number of hops and measure."""

    values: dict[int, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, questions: Sequence[Question]) -> None:
        for hops, values in questions:
            for measure, value in values.items():
                self.values.setdefault(hops, {}).setdefault(measure, []).append(value)

    def report(self) -> dict[str, Any]:
        """Percentages of all questions, and by hop."""
        together = {name: percent([v for hop in self.values.values() for v in hop[name]]) for name in MEASURES}
        by_hop = {
            f"{hops}-hop": {**{name: percent(hop[name]) for name in MEASURES}, "questions": len(hop["teacher_forced"])}
            for hops, hop in sorted(self.values.items())
        }
        return {"all": together, "by_hop": by_hop}


def portability(
    editor: Editor[Any],
    state: Any,
    samples: Sequence[Sample],
    max_new_tokens: int,
    done: Callable[[int], None],
    batch_size: int = BATCH,
) -> dict[str, Any]:
    """Ask the samples' portability questions of the edited and of the unedited model.

    ``state`` holds the samples' edits and stays as it is; ``done`` is told how many samples have been asked, and
    ``batch_size`` questions are asked at once.
    Keys: ``questions`` and ``premises`` (how many), ``edited`` and ``unedited``, each with ``all`` and ``by_hop``
    ("1-hop" …) of ``teacher_forced``, ``exact``, ``contains``, ``f1`` in percent, by hop also ``questions``.
    """
    asked = [sample for sample in samples if sample.portability]
    known, premises = with_premises(editor, state, asked)
    edited, unedited = _Scores(), _Scores()
    for start in range(0, len(asked), CHUNK):
        part = asked[start : start + CHUNK]
        for scores, model in ((edited, known), (unedited, None)):
            for questions in ask_portability(editor, model, part, max_new_tokens, batch_size):
                scores.add(questions)
        done(start + len(part))
    return {
        "questions": sum(len(sample.portability) for sample in asked),
        "premises": premises,
        "edited": edited.report(),
        "unedited": unedited.report(),
    }


def with_premises(editor: Editor[Any], state: Any, samples: Sequence[Sample]) -> tuple[Any, int]:
    """The state with the premises of the samples' questions added to a copy, and how many they are."""
    second = [(sample, probe.premise) for sample in samples for probe in sample.portability if probe.premise]
    if not second:
        return state, 0
    known = copy.deepcopy(state)
    for start in range(0, len(second), CHUNK):
        edits = [Edit(sample.image.open(), *premise) for sample, premise in second[start : start + CHUNK]]
        apply_edits(editor, known, edits)
    return known, len(second)


def ask_portability(
    editor: Editor[Any], state: Any, samples: Sequence[Sample], max_new_tokens: int, batch_size: int
) -> list[list[Question]]:
    """Each sample's portability questions, as one model answers them teacher-forced and by itself."""
    pairs = [(row, probe) for row, sample in enumerate(samples) for probe in sample.portability]
    pictures = {row: samples[row].image.open() for row, _ in pairs}
    queries = [Query(pictures[row], probe.question) for row, probe in pairs]
    predicted = predictions_of(editor, state, queries, [probe.answer for _, probe in pairs], batch_size)
    written = answers_of(editor, state, queries, max_new_tokens, batch_size)
    found: list[list[Question]] = [[] for _ in samples]
    for (row, probe), prediction, answer in zip(pairs, predicted, written, strict=True):
        values = {name: rate(answer.text, probe.answer) for name, rate in TEXT_MEASURES.items()}
        found[row].append((probe.hops, {"teacher_forced": prediction.agreement, **values}))
    return found


def portability_values(questions: Sequence[Question]) -> dict[str, float]:
    """The means of one sample's questions, together and by hop, by the names that results use."""
    rows: dict[str, list[float]] = {}
    for hops, values in questions:
        for name, value in values.items():
            for key in (f"port.{name}", f"port.{hops}-hop.{name}"):
                rows.setdefault(key, []).append(value)
    return {key: sum(found) / len(found) for key, found in sorted(rows.items())}
