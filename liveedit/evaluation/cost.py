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
# An answer's two parts, which older measurements lack: the question read and one token said, then the further tokens.
PARTS = ("prefill", "decode")
PART_SECONDS = tuple(f"seconds_per_{part}_{model}" for part in PARTS for model in ("edited", "unedited"))
# Of every answer that is timed: a model that says more than another is not slower for it.
TIMED_TOKENS = 4


def measure_cost(
    editor: Editor[Any],
    state: Any,
    samples: Sequence[Sample],
    done: Callable[[int], None],
) -> dict[str, Any]:
    """Medians over ``samples`` of one edit (on a fresh state) and of one answer under ``state``, after a warm-up of each.

    An answer is ``TIMED_TOKENS`` tokens, whatever the model would have said. Its prefill is an answer of one token, asked
    next; what the whole answer took longer is the decoding of the further tokens. Keys are those of ``COST`` and
    ``PART_SECONDS``; ``timed`` is how many samples were. ``done`` is called with the number of finished steps, two for
    each sample.
    """
    edits: list[float] = []
    scratch = editor.empty()
    first = edit_of(samples[0])
    editor.edit(scratch, [first], template=False)
    for number, sample in enumerate(samples):
        edit = edit_of(sample)
        start = perf_counter()
        editor.edit(scratch, [edit], template=False)
        edits.append(perf_counter() - start)
        done(number + 1)
    models = {"edited": state, "unedited": None}
    whole, prefill = ({name: list[float]() for name in models} for _ in range(2))
    for model in models.values():
        for tokens in (TIMED_TOKENS, 1):
            _seconds(editor, model, Query(first.image, first.prompt), tokens)
    for number, sample in enumerate(samples):
        query = Query(sample.image.open(), sample.src)
        # The order is swapped each time, so that neither model always meets the warmer cache.
        for name in list(models)[:: 1 if number % 2 == 0 else -1]:
            whole[name].append(_seconds(editor, models[name], query, TIMED_TOKENS))
            prefill[name].append(_seconds(editor, models[name], query, 1))
        done(len(samples) + number + 1)
    found = {"seconds_per_edit": median(edits)}
    for name in models:
        found[f"seconds_per_answer_{name}"] = median(whole[name])
        found[f"seconds_per_prefill_{name}"] = median(prefill[name])
        further = [total - one for total, one in zip(whole[name], prefill[name], strict=True)]
        found[f"seconds_per_decode_{name}"] = max(median(further), 0.0)  # tokens that take next to nothing may come out below it
    return {
        **{key: round(found[key], 5) for key in (*SECONDS, *PART_SECONDS)},
        "timed": len(samples),
        "repository_bytes": state.nbytes(),
    }


def _seconds(editor: Editor[Any], state: Any, query: Query, tokens: int) -> float:
    """How long an answer of exactly so many tokens takes."""
    with _exactly(tokens, editor):
        start = perf_counter()
        editor.answer(state, query, max_new_tokens=tokens, template=False)
        return perf_counter() - start


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
