"""Answering in batches, for editors that run each question on a backbone of some state: all baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, overload

import torch

from liveedit.backbones import Backbone, EncodedBatch
from liveedit.editors.base import Prediction
from liveedit.editors.decoding import generate, teacher_forced
from liveedit.types import Answer, Edit, Query, RoutingTrace, one_or_many

StateT = TypeVar("StateT")
BATCH = 64


@dataclass(frozen=True)
class Pass:
    """Questions that run together: ``rows`` are their places among those asked, ``queries`` how the model is asked.

    ``backbone`` is the model that answers them, ``traces`` say why it does.
    """

    rows: Sequence[int]
    backbone: Backbone
    queries: Sequence[Query]
    traces: Sequence[RoutingTrace]

    def encode(self, answers: Sequence[Sequence[int]] | None, template: bool) -> EncodedBatch:
        """The rows as the model reads them; ``answers`` are token ids behind the prompts."""
        return self.backbone.encode([q.image for q in self.queries], [q.prompt for q in self.queries], answers, template)

    def acting(self, batch: EncodedBatch) -> AbstractContextManager[None]:
        """What is done to the model while it reads ``batch``: nothing, unless a kind of pass says otherwise."""
        return nullcontext()


class GroupedEditor(ABC, Generic[StateT]):
    """Answers and predictions of an editor that says which model, asked how, answers which questions."""

    backbone: Backbone

    @abstractmethod
    def passes(self, state: StateT | None, queries: Sequence[Query], template: bool) -> list[Pass]:
        """How the questions run under ``state``: every one in exactly one pass.

        Questions with and without a picture do not share a pass (see :func:`alike`).
        """

    @overload
    def answer(
        self, state: StateT | None, query: Query, /, *, max_new_tokens: int = 32, template: bool = True
    ) -> Answer: ...

    @overload
    def answer(
        self, state: StateT | None, query: Sequence[Query], /, *, max_new_tokens: int = 32, template: bool = True
    ) -> list[Answer]: ...

    @torch.no_grad()
    def answer(
        self,
        state: StateT | None,
        query: Query | Sequence[Query],
        /,
        *,
        max_new_tokens: int = 32,
        template: bool = True,
    ) -> Answer | list[Answer]:
        """Answer one question or several by greedy generation under ``state`` (None: the unedited model)."""
        queries, single = one_or_many(query)
        for q in queries:
            self.backbone.check_prompt(q.prompt)
        answers: dict[int, Answer] = {}
        for part in self.passes(state, queries, template):
            batch = part.encode(None, template)
            with part.acting(batch):
                said = generate(part.backbone, batch, max_new_tokens)
            for row, (text, tokens), trace in zip(part.rows, said, part.traces, strict=True):
                answers[row] = Answer(text, tokens, trace)
        ordered = [answers[i] for i in range(len(queries))]
        return ordered[0] if single else ordered

    @torch.no_grad()
    def predict(
        self,
        state: StateT | None,
        queries: Sequence[Query],
        targets: Sequence[str],
        /,
        *,
        template: bool = True,
    ) -> list[Prediction]:
        """Teacher-forced argmax on each target's tokens under ``state`` (None: the unedited model)."""
        found: dict[int, Prediction] = {}
        for part in self.passes(state, queries, template):
            answers = [part.backbone.answer_ids(targets[i], template) for i in part.rows]
            batch = part.encode(answers, template)
            with part.acting(batch):
                predictions = teacher_forced(part.backbone, batch, answers)
            for row, prediction, trace in zip(part.rows, predictions, part.traces, strict=True):
                if prediction.answer is not None:
                    prediction = replace(prediction, answer=replace(prediction.answer, trace=trace))
                found[row] = prediction
        return [found[i] for i in range(len(queries))]

    def check_edits(self, edits: Sequence[Edit]) -> None:
        """Refuse a bad edit before any is applied."""
        for edit in edits:
            self.backbone.check_edit(edit)


def alike(queries: Sequence[Query], size: int = BATCH) -> list[list[int]]:
    """Rows that run together: with a picture or all without one, at most ``size``."""
    kinds = ([i for i, q in enumerate(queries) if (q.image is None) == bare] for bare in (False, True))
    return [rows[start : start + size] for rows in kinds for start in range(0, len(rows), size)]


def one_model(backbone: Backbone, queries: Sequence[Query], trace: RoutingTrace) -> list[Pass]:
    """All questions as they stand, answered by one model for one reason."""
    return [Pass(rows, backbone, [queries[i] for i in rows], [trace] * len(rows)) for rows in alike(queries)]
