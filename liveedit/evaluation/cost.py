"""What an editor costs: seconds of single calls, edited and unedited in turn, and bytes of the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

from liveedit.backbones import Backbone
from liveedit.data import Sample
from liveedit.editors import Editor
from liveedit.evaluation.asking import edit_of
from liveedit.types import Query

SECONDS = ("seconds_per_edit", "seconds_per_answer_edited", "seconds_per_answer_unedited")
COST = (*SECONDS, "timed", "repository_bytes")
# Of every answer that is timed: a model that says more than another is not slower for it.
TIMED_TOKENS = 4


def measure_cost(
    editor: Editor[Any],
    state: Any,
    samples: Sequence[Sample],
    done: Callable[[int], None],
) -> dict[str, Any]:
    """Medians over ``samples`` of one edit (on a fresh state) and of one answer under ``state``, after a warm-up of each.

    An answer is ``TIMED_TOKENS`` tokens, whatever the model would have said. Keys are those of ``COST``; ``timed`` is
    how many samples were. ``done`` is called with the number of finished steps, two for each sample.
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
    with _exactly(TIMED_TOKENS, editor):
        for model in (state, None):
            editor.answer(model, Query(first.image, first.prompt), max_new_tokens=TIMED_TOKENS, template=False)
        for number, sample in enumerate(samples):
            query = Query(sample.image.open(), sample.src)
            # The order is swapped each time, so that neither model always meets the warmer cache.
            for model in (state, None) if number % 2 == 0 else (None, state):
                start = perf_counter()
                editor.answer(model, query, max_new_tokens=TIMED_TOKENS, template=False)
                (unedited if model is None else edited).append(perf_counter() - start)
            done(len(samples) + number + 1)
    return {
        "seconds_per_edit": round(median(edits), 5),
        "seconds_per_answer_edited": round(median(edited), 5),
        "seconds_per_answer_unedited": round(median(unedited), 5),
        "timed": len(samples),
        "repository_bytes": state.nbytes(),
    }


@contextmanager
def _exactly(tokens: int, editor: Editor[Any]) -> Iterator[None]:
    """Let no model of the editor, or twin of one, end an answer before so many tokens."""
    models = [value.model for value in vars(editor).values() if isinstance(value, Backbone)]
    parts = [part for model in models for part in model.modules() if hasattr(part, "generation_config")]
    configs = {id(part.generation_config): part.generation_config for part in parts}.values()
    before = [config.min_new_tokens for config in configs]
    try:
        for config in configs:
            config.min_new_tokens = tokens
        yield
    finally:
        for config, value in zip(configs, before, strict=True):
            config.min_new_tokens = value
