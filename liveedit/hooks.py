"""The only place that registers hooks. Each lives inside a ``with`` and is removed by identity on leaving it.

Nothing is kept on the model: what a hook learns is written to the value that the ``with`` yields. A hook acts on calls of
the thread that entered the ``with`` alone: others may run the same modules meanwhile, hooked or not, and see nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class _Stop(Exception):
    """Leaves a forward pass early; carries nothing and never escapes :func:`stop_after`."""


def _run_until_stopped(forward: Callable[[], Any]) -> None:
    """Run a forward pass that a hook is to leave early."""
    try:
        forward()
    except _Stop:
        return
    raise RuntimeError("the forward pass never reached the module at which it was to stop")


@contextmanager
def _own_calls() -> Iterator[Callable[[], bool]]:
    """Yields what a hook asks before it acts: whether this thread entered the context, and has not left it yet.

    A copy of a module takes its hooks along; one that was made meanwhile keeps a hook that never acts again.
    """
    owner: int | None = get_ident()
    try:
        yield lambda: owner == get_ident()
    finally:
        owner = None


class Captured:
    """The output of a module, once it has run."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None

    def tensor(self) -> torch.Tensor:
        """The captured hidden states; it is an error of the caller to ask before the module has run."""
        if self.value is None:
            raise RuntimeError("the module has not run inside the hook's context")
        return self.value


def hidden_of(output: Any) -> torch.Tensor:
    """The hidden states in a decoder layer's output, which is a tensor or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def stop_after(module: nn.Module) -> Iterator[tuple[Captured, Callable[[Callable[[], Any]], None]]]:
    """Run a model no further than ``module``.

    Yields the captured output and a function that runs a forward pass and returns when ``module`` has
    produced its output; the layers above never run.
    """
    captured = Captured()
    with _own_calls() as own:

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if own():
                captured.value = hidden_of(output)
                raise _Stop

        handle = module.register_forward_hook(hook)
        try:
            yield captured, _run_until_stopped
        finally:
            handle.remove()


@contextmanager
def replace_output(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Replace ``module``'s hidden states [B, T, d] by ``change(hidden)`` for the duration of the context."""
    with _own_calls() as own:

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if not own():
                return output
            hidden = change(hidden_of(output))
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


class CapturedCall:
    """The arguments of a module's call, once it has been made."""

    def __init__(self) -> None:
        self.arguments: tuple[torch.Tensor, dict[str, Any]] | None = None

    def first(self) -> tuple[torch.Tensor, dict[str, Any]]:
        """The first positional argument (the hidden states) and the keyword arguments."""
        if self.arguments is None:
            raise RuntimeError("the module has not been called inside the hook's context")
        return self.arguments


@contextmanager
def capture_calls(
    modules: Sequence[nn.Module],
) -> Iterator[tuple[list[CapturedCall], Callable[[Callable[[], Any]], None]]]:
    """Run a model up to the moment when it has called all of ``modules``, and keep the arguments of those calls.

    Like :func:`stop_after`, but what is kept is what each module receives; the last of them does not run.
    """
    captured = [CapturedCall() for _ in modules]
    with _own_calls() as own:

        def keeper(call: CapturedCall) -> Callable[..., None]:
            def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if not own():
                    return
                rest = dict(kwargs)
                hidden = args[0] if args else rest.pop("hidden_states")
                call.arguments = (hidden, rest)
                if all(other.arguments is not None for other in captured):
                    raise _Stop

            return hook

        handles: list[RemovableHandle] = []
        try:
            for module, call in zip(modules, captured, strict=True):
                handles.append(module.register_forward_pre_hook(keeper(call), with_kwargs=True))
            yield captured, _run_until_stopped
        finally:
            for handle in handles:
                handle.remove()
