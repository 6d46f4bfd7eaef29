"""One evaluation: apply N edits one after another, then test all N (paper, Section 5.1).

Everything is asked of the unedited model as well: its numbers are the floor that every table shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from liveedit.data import Sample
from liveedit.editors import Editor
from liveedit.evaluation.asking import (
    BATCH,
    EDITED_QUERIES,
    MAX_NEW_TOKENS,
    PAPER,
    TEXT_MEASURES,
    Response,
    Scores,
    apply_edits,
    check_batch_size,
    edit_of,
    respond,
    score,
)
from liveedit.evaluation.cost import measure_cost
from liveedit.evaluation.metrics import OwnExpert, bootstrap_interval, mean, percent
from liveedit.evaluation.notes import t_loc_note
from liveedit.evaluation.portability import NOTE as PORTABILITY
from liveedit.evaluation.portability import portability
from liveedit.experts import ExpertRepository
from liveedit.types import InputError

FORMAT = "liveedit-evaluation-1"
CHUNK = 32  # samples whose pictures are in memory at once
TIMED = 20
NOTES = {
    "paper": "teacher-forced argmax, mean over samples of the share of tokens, in percent; locality is "
    "agreement with the unedited model, whose own is 100 by definition",
    "generation": "greedy answers that stop by themselves, in percent; contains and f1 count words",
    "routing": "precision is the own expert's share of those that passed, over questions where any passed",
    "repository_bytes": "what the edits add to the unedited model, without their pictures",
}

Progress = Callable[[int, int, str], None]


@dataclass
class _Tally:
    """The scores of every sample, collected chunk by chunk."""

    scores: list[Scores] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """The table of one model, in percent."""
        paper = {name: percent([s.paper[name] for s in self.scores]) for name in PAPER}
        paper["average"] = percent(self.averages())
        generation: dict[str, Any] = {
            query: {measure: percent([s.texts[query][measure] for s in self.scores]) for measure in TEXT_MEASURES}
            for query in EDITED_QUERIES
        }
        generation["m_loc_same"] = percent([s.m_loc_same for s in self.scores])
        probes = [probe for s in self.scores for probe in s.hard]
        hard: dict[str, Any] = {
            kind: percent([same for k, same in probes if k == kind]) for kind in ("same_picture", "near_miss")
        }
        hard["all"] = percent([same for _, same in probes])
        hard["probes"] = len(probes)
        return {"paper": paper, "generation": generation, "hard_locality": hard}

    def averages(self) -> list[float]:
        """Each sample's average over the five numbers of the paper."""
        return [s.average for s in self.scores]


def _routing(responses: Sequence[Response]) -> dict[str, Any]:
    """What routing did on the questions that should meet their edit, and on those that should not."""
    groups: dict[str, list[OwnExpert]] = {query: [r.own[query] for r in responses] for query in EDITED_QUERIES}
    groups["all"] = [own for rows in list(groups.values()) for own in rows]
    passed = [r.m_loc_passed for r in responses]
    return {
        "recall": {name: percent([o.recall for o in rows]) for name, rows in groups.items()},
        "precision": {
            name: percent([o.precision for o in rows if o.precision is not None]) for name, rows in groups.items()
        },
        "passed_mean": {name: mean([o.passed for o in rows]) for name, rows in groups.items()},
        "own_heaviest": {name: percent([o.heaviest for o in rows]) for name, rows in groups.items()},
        "m_loc_nothing_passed": percent([float(count == 0) for count in passed]),
        "m_loc_passed_mean": mean(passed),
    }


def evaluate(
    editor: Editor[Any],
    samples: Sequence[Sample],
    seed: int = 0,
    progress: Progress | None = None,
    batch_size: int = BATCH,
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
    - ``routing``, only of an editor that routes: ``recall``, ``precision``, ``passed_mean``, ``own_heaviest``, each for ``rel``, ``t_gen``,
      ``m_gen`` and ``all``; ``m_loc_nothing_passed``, ``m_loc_passed_mean``
    - ``cost``: ``seconds_per_edit``, ``seconds_per_answer_edited``, ``seconds_per_answer_unedited`` (medians
      of single calls), ``timed`` (how many), ``repository_bytes``
    - ``portability``, only when samples carry such questions: see :mod:`liveedit.evaluation.portability`
    - ``notes``: what a number means, by name

    ``progress`` is called with (done, total, label). The seed only draws the bootstrap's resamples. ``batch_size``
    questions are asked at once.
    """
    check_batch_size(batch_size)
    if not samples:
        raise InputError("there are no samples to evaluate: give a benchmark with at least one")
    if seed < 0:
        raise InputError(f"the seed is {seed}: choose 0 or a larger number")
    timed = min(TIMED, len(samples))
    carrying = sum(bool(sample.portability) for sample in samples)
    total = 2 * len(samples) + 2 * timed + carrying
    report = progress or (lambda done, total, label: None)
    state = editor.empty()
    ids: list[str] = []
    for start in range(0, len(samples), CHUNK):
        ids += apply_edits(editor, state, [edit_of(s) for s in samples[start : start + CHUNK]])
        report(len(ids), total, "editing")
    edited, unedited = _Tally(), _Tally()
    responses: list[Response] = []
    for start in range(0, len(samples), CHUNK):
        part, own = samples[start : start + CHUNK], ids[start : start + CHUNK]
        after = respond(editor, state, part, own, MAX_NEW_TOKENS, batch_size)
        before = respond(editor, None, part, own, MAX_NEW_TOKENS, batch_size)
        for sample, new, old in zip(part, after, before, strict=True):
            edited.scores.append(score(sample, new, old))
            unedited.scores.append(score(sample, old, old))
        responses += after
        report(len(ids) + start + len(part), total, "testing")
    cost = measure_cost(
        editor, state, samples[:timed], lambda done: report(2 * len(samples) + done, total, "timing")
    )
    low, high = bootstrap_interval(edited.averages(), seed)
    result: dict[str, Any] = {
        "format": FORMAT,
        "edits": len(samples),
        "seed": seed,
        "backbone": editor.backbone.fingerprint,
        "edited": edited.report(),
        "unedited": unedited.report(),
        "interval": {"average": [round(100 * low, 2), round(100 * high, 2)]},
        "cost": cost,
        "notes": dict(NOTES),
    }
    if isinstance(state, ExpertRepository) or any(response.routed for response in responses):
        result["routing"] = _routing(responses)
    else:
        del result["notes"]["routing"]
    constructed = t_loc_note(editor)
    if constructed is not None:
        result["notes"] = {"t_loc": constructed, **result["notes"]}
    if carrying:
        result["portability"] = portability(
            editor,
            state,
            samples,
            MAX_NEW_TOKENS,
            lambda done: report(total - carrying + done, total, "portability"),
            batch_size,
        )
        result["notes"]["portability"] = PORTABILITY
    return result
