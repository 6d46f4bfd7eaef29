"""The questions of a benchmark's sample, what an editor says to them, and what that scores.

Shared by every evaluation, so that a number means the same in each. Prompts of a benchmark carry the answer's
cue themselves, so nothing here uses a chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL.Image import Image

from liveedit.data import Sample
from liveedit.editors import Editor, Prediction
from liveedit.evaluation.metrics import OwnExpert, agreement, contains, exact_match, own_expert, token_f1
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Edit, InputError, Query

MAX_NEW_TOKENS = 32
BATCH = 64  # the most questions asked at once; their traces are reduced before the next are asked
EDITED_QUERIES = ("rel", "t_gen", "m_gen")
PAPER = ("rel", "t_gen", "m_gen", "t_loc", "m_loc")
TEXT_MEASURES = {"exact": exact_match, "contains": contains, "f1": token_f1}


@dataclass
class Response:
    """What one state's model says to one sample's questions.

    ``predicted`` by question: teacher-forced argmax (rel, t_gen, m_gen, m_loc, t_loc). ``texts``: written answers
    (rel, t_gen, m_gen, m_loc), ``hard`` those to the hard probes. ``own`` is what routing did with the sample's
    own edit, ``m_loc_passed`` how many passed on the unrelated picture; ``routed`` says whether anything was
    routed at all.
    """

    predicted: dict[str, Prediction] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    hard: list[str] = field(default_factory=list)
    own: dict[str, OwnExpert] = field(default_factory=dict)
    m_loc_passed: int = 0
    routed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Predictions and texts; routing is left out, since this is kept of the unedited model only."""
        predicted = {name: [list(p.target), list(p.predicted)] for name, p in self.predicted.items()}
        return {"predicted": predicted, "texts": self.texts, "hard": self.hard}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Response:
        """The inverse of :meth:`to_json`."""
        predicted = {name: Prediction(tuple(t), tuple(p)) for name, (t, p) in value["predicted"].items()}
        return cls(predicted, dict(value["texts"]), list(value["hard"]))


@dataclass
class Scores:
    """One sample's values in 0..1 for one model; ``hard`` holds each probe's kind and whether its answer stayed."""

    paper: dict[str, float]
    texts: dict[str, dict[str, float]]
    m_loc_same: float
    hard: list[tuple[str, float]]

    @property
    def average(self) -> float:
        """The mean of the paper's five numbers."""
        return sum(self.paper[name] for name in PAPER) / len(PAPER)


def edit_of(sample: Sample) -> Edit:
    """The sample's edit."""
    return Edit(sample.image.open(), sample.src, sample.alt)


def apply_edits(editor: Editor[Any], state: Any, edits: Sequence[Edit]) -> list[str]:
    """Apply edits to ``state``, which keeps none of their pictures; returns their ids.

    Of all states only a repository holds pictures, to be shown; of thousands of edits they would fill the memory.
    """
    ids = editor.edit(state, edits, template=False)
    forget_pictures(state)
    return ids


def forget_pictures(state: Any) -> None:
    """Drop what a state holds of pictures."""
    if isinstance(state, ExpertRepository):
        state.forget_pictures()


def check_batch_size(size: int) -> None:
    """Refuse a number of questions that cannot be asked at once."""
    if not 1 <= size <= BATCH:
        raise InputError(f"the batch size is {size}: choose 1 to {BATCH}")


def answers_of(
    editor: Editor[Any], state: Any, queries: Sequence[Query], max_new_tokens: int, batch_size: int
) -> list[Answer]:
    """Written answers, ``batch_size`` questions at once."""
    parts = [queries[start : start + batch_size] for start in range(0, len(queries), batch_size)]
    return [a for part in parts for a in editor.answer(state, part, max_new_tokens=max_new_tokens, template=False)]


def predictions_of(
    editor: Editor[Any], state: Any, queries: Sequence[Query], targets: Sequence[str], batch_size: int
) -> list[Prediction]:
    """Teacher-forced predictions of the targets, ``batch_size`` questions at once."""
    parts = [slice(start, start + batch_size) for start in range(0, len(queries), batch_size)]
    return [p for part in parts for p in editor.predict(state, queries[part], targets[part], template=False)]


def respond(
    editor: Editor[Any],
    state: Any,
    samples: Sequence[Sample],
    ids: Sequence[str],
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = BATCH,
) -> list[Response]:
    """Ask all questions of some samples, under ``state`` or (None) of the unedited model.

    ``ids`` names each sample's own edit; without edits they may be empty strings. ``batch_size`` questions are asked at
    once: it decides how much memory that takes, and no answer.
    """
    responses = [Response() for _ in samples]
    pictures = [_Pictures.of(sample) for sample in samples]
    questions = [
        question
        for row, (sample, shown) in enumerate(zip(samples, pictures, strict=True))
        for question in _questions(row, sample, shown)
    ]
    # Rows of a batch wait for the longest answer among them, so answers of like length are asked for together.
    questions.sort(key=lambda question: len(question.expected))
    left = _predict(editor, state, questions, responses, ids, max_new_tokens, batch_size)
    for sample, response in zip(samples, responses, strict=True):
        response.hard = [""] * len(sample.hard)
    _write(editor, state, left, responses, ids, max_new_tokens, batch_size)
    return responses


def score(sample: Sample, response: Response, unedited: Response) -> Scores:
    """Compare a response with the sample's new answer, and where nothing should change with the unedited model's."""
    paper = {name: response.predicted[name].agreement for name in EDITED_QUERIES}
    for name in ("t_loc", "m_loc"):
        paper[name] = agreement(response.predicted[name].predicted, unedited.predicted[name].predicted)
    texts = {
        name: {measure: rate(response.texts[name], sample.alt) for measure, rate in TEXT_MEASURES.items()}
        for name in EDITED_QUERIES
    }
    hard = [
        (probe.kind, float(new == old))
        for probe, new, old in zip(sample.hard, response.hard, unedited.hard, strict=True)
    ]
    return Scores(paper, texts, float(response.texts["m_loc"] == unedited.texts["m_loc"]), hard)


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


@dataclass(frozen=True)
class _Question:
    """One question of sample ``row``: its name, the answer that is expected, and for hard probes their number."""

    row: int
    name: str
    query: Query
    expected: str
    probe: int = 0


def _questions(row: int, sample: Sample, shown: _Pictures) -> list[_Question]:
    """The three questions that shall show the edit, and those that it shall leave alone."""
    return [
        _Question(row, "rel", Query(shown.edit, sample.src), sample.alt),
        _Question(row, "t_gen", Query(shown.edit, sample.rephrase), sample.alt),
        _Question(row, "m_gen", Query(shown.redrawn, sample.src), sample.alt),
        _Question(row, "m_loc", Query(shown.m_loc, sample.m_loc_q), sample.m_loc_a),
        _Question(row, "t_loc", Query(None, sample.loc), sample.loc_ans),
        *(
            _Question(row, "hard", Query(picture, probe.question), probe.answer, number)
            for number, (probe, picture) in enumerate(zip(sample.hard, shown.hard, strict=True))
        ),
    ]


def _predict(
    editor: Editor[Any],
    state: Any,
    questions: Sequence[_Question],
    responses: Sequence[Response],
    ids: Sequence[str],
    max_new_tokens: int,
    batch_size: int,
) -> list[_Question]:
    """Teacher-forced predictions of the paper's five questions; returns those whose written answer is still unknown."""
    # Questions without a picture run apart from the others, so they come last together.
    asked = sorted((q for q in questions if q.name in PAPER), key=lambda question: question.query.image is None)
    left = [q for q in questions if q.name not in PAPER]
    for start in range(0, len(asked), batch_size):
        part = asked[start : start + batch_size]
        found = editor.predict(state, [q.query for q in part], [q.expected for q in part], template=False)
        for question, prediction in zip(part, found, strict=True):
            responses[question.row].predicted[question.name] = replace(prediction, answer=None)
            if question.name == "t_loc":
                continue
            if prediction.answer is not None and len(prediction.target) <= max_new_tokens:
                _note(responses[question.row], question, prediction.answer, ids[question.row])
            else:
                left.append(question)
    return sorted(left, key=lambda question: len(question.expected))


def _write(
    editor: Editor[Any],
    state: Any,
    questions: Sequence[_Question],
    responses: Sequence[Response],
    ids: Sequence[str],
    max_new_tokens: int,
    batch_size: int,
) -> None:
    """Written answers, and what routing did."""
    for start in range(0, len(questions), batch_size):
        part = questions[start : start + batch_size]
        answers = editor.answer(state, [q.query for q in part], max_new_tokens=max_new_tokens, template=False)
        for question, answer in zip(part, answers, strict=True):
            _note(responses[question.row], question, answer, ids[question.row])


def _note(response: Response, question: _Question, answer: Answer, own_id: str) -> None:
    """Keep what is needed of one written answer."""
    if question.name == "hard":
        response.hard[question.probe] = answer.text
        return
    response.texts[question.name] = answer.text
    if question.name == "m_loc":
        response.m_loc_passed = len(answer.trace.passed)
    else:
        response.own[question.name] = own_expert(answer.trace, own_id)
        response.routed |= answer.trace.routed
