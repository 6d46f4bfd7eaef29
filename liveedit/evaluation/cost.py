"""What an editor costs: seconds of single calls, edited and unedited in turn, and bytes of the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

from liveedit.data import Sample
from liveedit.editors import Editor
from liveedit.evaluation.asking import MAX_NEW_TOKENS, edit_of
from liveedit.types import Query

SECONDS = ("seconds_per_edit", "seconds_per_answer_edited", "seconds_per_answer_unedited")
COST = (*SECONDS, "timed", "repository_bytes")


def measure_cost(
    editor: Editor[Any],
    state: Any,
    samples: Sequence[Sample],
    done: Callable[[int], None],
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> dict[str, Any]:
    """Medians over ``samples`` of one edit (on a fresh state) and of one answer under ``state``, after a warm-up of each.

    Keys are those of ``COST``; ``timed`` is how many samples were. ``done`` is called with the number of finished
    steps, two for each sample.
    """
    edits: list[float] = []
    edited: list[float] = []
    unedited: list[float] = []
    scratch = editor.empty()
    first = edit_of(samples[0])
    editor.edit(scratch, [first], template=False)
    for number, sample in enumerate(samples):
        edit = edit_of(sample)
        start = perf_counter()
        editor.edit(scratch, [edit], template=False)
        edits.append(perf_counter() - start)
        done(number + 1)
    for model in (state, None):
        editor.answer(model, Query(first.image, first.prompt), max_new_tokens=max_new_tokens, template=False)
    for number, sample in enumerate(samples):
        query = Query(sample.image.open(), sample.src)
        # The order is swapped each time, so that neither model always meets the warmer cache.
        for model in (state, None) if number % 2 == 0 else (None, state):
            start = perf_counter()
            editor.answer(model, query, max_new_tokens=max_new_tokens, template=False)
            (unedited if model is None else edited).append(perf_counter() - start)
        done(len(samples) + number + 1)
    return {
        "seconds_per_edit": round(median(edits), 5),
        "seconds_per_answer_edited": round(median(edited), 5),
        "seconds_per_answer_unedited": round(median(unedited), 5),
        "timed": len(samples),
        "repository_bytes": state.nbytes(),
    }
