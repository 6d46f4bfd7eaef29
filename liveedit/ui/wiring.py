"""What all panels share to become a page: the session, what shows it, and how an action runs.

A panel's ``build_x`` lays its components out and registers what shows the session (:meth:`Wiring.shows`) and
what follows an answer in a step of its own (:meth:`Wiring.follows`); its ``wire_x`` then connects its events.

Only actions in the queue of width one (:meth:`Wiring.queued`) write the session: a person's quick clicks are applied one after
another, the shared model is never used twice at a time, and no slow step can put an older session back.
Everything else, follow-up steps included, reads the session and keeps what it finds in a state of its own.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import gradio as gr
from gradio.events import Dependency

from liveedit.editors import LiveEdit
from liveedit.types import InputError, LiveEditError
from liveedit.ui.markup import escape, sentence
from liveedit.ui.session import Session
from liveedit.ui.spaces import WORKER_ERROR
from liveedit.ui.visits import Visits
from liveedit.world.examples import Example

P = ParamSpec("P")
R = TypeVar("R")
Updates = dict[Any, Any]
Options = dict[str, Any]
Upload = dict[str, Any] | None

LOG = logging.getLogger(__name__)
PROGRESS = gr.Progress()
# Actions that need no model, and write no session: they do not wait for one that does.
QUICK: Options = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class FollowUp:
    """A step after each answer: an action with its inputs and outputs, none of which is the session as output."""

    action: Callable[..., Any]
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    busy: Any


@dataclass
class Wiring:
    """The editor and the examples that all visitors share, who they are, and one's session with what shows it."""

    editor: LiveEdit
    examples: Sequence[Example]
    assets: Path
    session: gr.State
    visits: Visits
    views: dict[Any, Callable[[Session], Any]] = field(default_factory=dict)
    steps: list[FollowUp] = field(default_factory=list)

    def shows(self, component: Any, view: Callable[[Session], Any]) -> None:
        """From now on ``component`` shows ``view`` of the session after each action."""
        self.views[component] = view

    def follows(self, action: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], busy: Any) -> None:
        """Run ``action`` as a step of its own after each answer, with the progress shown on ``busy``."""
        self.steps.append(FollowUp(action, inputs, outputs, busy))

    @property
    def shown(self) -> list[Any]:
        """The outputs of an action that changes the session; complete once all panels are built."""
        return [self.session, *self.views]

    def view(self, state: Session) -> Updates:
        """A new session with everything that shows it; steps of their own follow (:meth:`and_then`)."""
        return {self.session: state, **{component: view(state) for component, view in self.views.items()}}

    def queued(self, **options: Any) -> Options:
        """Settings of an event in the one queue. Inputs arrive raw: see :func:`liveedit.ui.pictures.uploaded_path`."""
        return {
            "concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private", "preprocess": False, **options,
        }  # fmt: skip

    def and_then(self, event: Dependency) -> None:
        """Let the steps that were registered follow ``event`` when it succeeds."""
        for step in self.steps:
            event.success(
                told(step.action), step.inputs, step.outputs, **self.queued(show_progress_on=step.busy)
            )  # fmt: skip


def told(action: Callable[P, R], plain: bool = False) -> Callable[P, R]:
    """Turn errors of an action into one sentence on the page; what is unexpected is logged, not shown.

    ``plain`` is for programs, which read the sentence as it is and not as HTML.
    """
    if inspect.isgeneratorfunction(action):

        @functools.wraps(action)
        def streamed(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                yield from cast(Any, action(*args, **kwargs))
            except Exception as error:
                raise _sentence_of(error, plain) from error

        return cast(Callable[P, R], streamed)

    @functools.wraps(action)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return action(*args, **kwargs)
        except Exception as error:
            raise _sentence_of(error, plain) from error

    return wrapped


def _sentence_of(error: Exception, plain: bool) -> gr.Error:
    if isinstance(error, LiveEditError):
        said = sentence(str(error))
        # The page shows messages as HTML: "<image>" in one must stay readable.
        return gr.Error(said if plain else escape(said), print_exception=False)
    if isinstance(error, gr.Error) and error.title != WORKER_ERROR:
        # Who lends GPUs says in words of its own that there is none for this visitor, and until when.
        return error
    LOG.error("an action of the page failed", exc_info=error)
    return gr.Error(
        "Something unexpected went wrong; your edits are kept. Try again, or look at the server's log.",
        print_exception=False,
    )


def clicked(event: gr.EventData) -> tuple[str, str]:
    """The action and the item of a clicked button; the browser sends them, so they may be anything."""
    data = event._data if isinstance(event._data, dict) else {}
    return str(data.get("action", "")), str(data.get("item", ""))


def chosen(event: gr.EventData, count: int) -> int:
    """Which of ``count`` things a clicked button stands for."""
    item = clicked(event)[1]
    if not item.isdecimal() or int(item) >= count:
        raise InputError("there is no such example: reload the page")
    return int(item)
