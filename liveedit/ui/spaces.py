"""Borrowed GPUs of hosted spaces: an action that touches the model runs where the GPU is lent, or as it is elsewhere.

On such a space (ZeroGPU) the package ``spaces`` forks a process for the time of a call and sends arguments and results
there and back. The editor stays where it is, in the memory that both processes share; what crosses is a session, whose
experts are plain CPU tensors. An error made for a person crosses as a value, since the package replaces each that is none
of Gradio's own. Without the package nothing here does anything.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from liveedit.types import LiveEditError

F = TypeVar("F", bound=Callable[..., Any])

# Seconds for which a call of each kind may hold the GPU; what takes less gives it back at once.
SECONDS: Mapping[str, int] = {"route": 20, "ask": 45, "edit": 60, "heatmaps": 90, "api": 90, "compare": 120}

# The editors of this process by their ids: the forked process finds them here, so that none is ever sent.
_EDITORS: dict[int, Any] = {}

# The title of the package's own error in place of one that it does not know, of which it tells the class alone.
WORKER_ERROR = "ZeroGPU worker error"


@dataclass(frozen=True)
class Refusal:
    """An error that a person can act on, on its way back from the process that has the GPU."""

    error: LiveEditError


def package() -> Any | None:
    """The package ``spaces`` where it is installed."""
    return import_module("spaces") if find_spec("spaces") is not None else None


def on_gpu(kind: str) -> Callable[[F], F]:
    """Let an action ``action(editor, ...)`` of this ``kind`` run on a borrowed GPU, where there are such.

    Its other arguments and its result, or what it yields, have to be picklable and free of the model.
    """
    spaces = package()
    seconds = SECONDS[kind]

    def decorate(action: F) -> F:
        if spaces is None:
            return action

        def across(key: int, *args: Any, **options: Any) -> Any:
            try:
                return action(_EDITORS[key], *args, **options)
            except LiveEditError as error:
                return Refusal(error)

        def stream_across(key: int, *args: Any, **options: Any) -> Any:
            try:
                yield from action(_EDITORS[key], *args, **options)
            except LiveEditError as error:
                yield Refusal(error)

        streams = inspect.isgeneratorfunction(action)
        lent = spaces.GPU(duration=seconds)(stream_across if streams else across)

        @functools.wraps(action)
        def wrapped(editor: Any, *args: Any, **options: Any) -> Any:
            _EDITORS[id(editor)] = editor
            return _received(lent(id(editor), *args, **options))

        @functools.wraps(action)
        def stream_wrapped(editor: Any, *args: Any, **options: Any) -> Iterator[Any]:
            _EDITORS[id(editor)] = editor
            # Who stops listening has the other process stop too.
            with closing(lent(id(editor), *args, **options)) as values:
                for value in values:
                    yield _received(value)

        return stream_wrapped if streams else wrapped  # type: ignore[return-value]

    return decorate


def _received(value: Any) -> Any:
    """What came back; a refusal is raised here, where the page knows what to make of it."""
    if isinstance(value, Refusal):
        raise value.error
    return value
