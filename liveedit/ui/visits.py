"""Who is on the page: what each visit holds, when it is over, and what goes first when memory runs short. Edits go last.

Gradio keeps a state for everybody who ever sent a request, with all that the page has shown them, and drops whole
states by their number, oldest first, edits or not. Here visits end when their page is left, an hour after their last
action, or by the memory that they hold; and a tab whose visit has ended is told so at its next action.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import get_upload_folder

from liveedit.types import InputError
from liveedit.ui.gate import GatedBlocks, paths_in
from liveedit.ui.room import Room, size_of
from liveedit.ui.scratch import discarded, files_below
from liveedit.ui.session import Session

SESSION_SECONDS = 3600
# A file that was brought in this time ago may be an equal one of somebody whose page has not named it yet.
FRESH_SECONDS = 60
# What the browser keeps in the place of a session with edits, and sends back with every action.
MARK = "edits"
ENDED = (
    "Your session has ended, and its edits are gone: it was not used for an hour, or the server was started anew. Reload "
    "the page to begin again; a session or edits that you kept as a file can be opened there."
)


class Visit(SessionState):
    """The states of one visitor. ``held`` bytes lie in them, of which ``kept`` in edits; ``busy`` actions are running.

    ``files`` are those on the server's disk that the page named, was shown or was given to take home.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        # Without the settings of every component, which are for links to the page as somebody left it; those are closed.
        super().__init__(cast(Any, SimpleNamespace(default_config=blocks.default_config, blocks=())))
        self.held = self.kept = self.busy = 0
        self.files: set[str] = set()

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """What the page shows is not kept here: it would be the largest part of all."""


class Visits(StateHolder):
    """The states of all visitors within the memory there is for them."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        # The component that holds a visitor's :class:`Session`; the page sets it.
        self.state: gr.State | None = None
        self._unfetched: dict[str, float] = {}
        self._left: list[Visit] = []

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Visit(self.blocks)
        visit = super().__getitem__(session_id)
        # A tab whose connection broke is heard again, as after a laptop's sleep.
        visit.is_closed = False
        return visit

    def update(self, session_id: str) -> None:
        """Make a visit the last one used; of too many, those without edits end that were not used for longest."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            over = len(self.session_data) - self.capacity
            for other, visit in list(self.session_data.items()) if over > 0 else ():
                if over > 0 and other != session_id and not _busy(visit) and not self._edited(visit):
                    self._end(other)
                    over -= 1

    def end(self, session_id: str) -> None:
        """Forget a visit."""
        with self.lock:
            self._end(session_id)

    def leave(self, session_id: str) -> None:
        """Forget the visit of a page that was left, and remove its files."""
        with self.lock:
            visit = self.session_data.get(session_id)
            self._end(session_id)
            if isinstance(visit, Visit):
                visit.state_data.clear()
                self._left.append(visit)
        self.remove_left()

    def note(self, visit: SessionState | None, paths: Iterable[str]) -> None:
        """Remember which files on the server's disk belong to a visit."""
        if isinstance(visit, Visit):
            files = files_below(Path(get_upload_folder()), paths)
            with self.lock:
                visit.files |= files

    def remove_left(self) -> None:
        """Remove the files of pages that were left, but what another page shows too: equal uploads are one file.

        What may be about to be named by another page stays until the next time.
        """
        events = list(self.blocks._queue.event_ids_to_events.values())
        named = [path for event in events if event.data is not None for path in paths_in(event.data.data)]
        asked = files_below(Path(get_upload_folder()), named)
        with self.lock:
            shared = {path for visit in self.session_data.values() if isinstance(visit, Visit) for path in visit.files}
            for visit in list(self._left):
                visit.files -= shared
                visit.files -= {path for path in visit.files - asked if discarded(Path(path), FRESH_SECONDS)}
                if not visit.files and not visit.busy:
                    self._left.remove(visit)

    def delete_all_expired_state(self) -> None:
        """End the visits that were not used for an hour; Gradio calls this every second."""
        oldest = datetime.now() - timedelta(seconds=SESSION_SECONDS)
        with self.lock:
            for session_id, used in list(self.time_last_used.items()):
                if used < oldest and not _busy(self.session_data.get(session_id)):
                    self._end(session_id)
        self._forget_unfetched()

    def admit(self, before: Session, after: Session, more: Any = None) -> None:
        """Raise :class:`InputError` when ``after``, which shall take the place of ``before``, needs room there is not.

        ``more`` is what will be kept beside it. Only edits count: all else makes room for them.
        """
        need = _kept(after, more)
        if need <= _kept(before, None):
            return
        if need > self.room.session:
            raise InputError(
                f"your edits would take {need >> 20} MB on the server, and a session has room for "
                f"{self.room.session >> 20}: remove some, or keep them in a file and begin a new session"
            )
        with self.lock:
            visits = list(self.session_data.values())
        others = sum(
            visit.kept
            for visit in visits
            if isinstance(visit, Visit) and not visit.is_closed and self._session(visit) is not before
        )
        if others + need > self.room.everyone:
            raise InputError(
                "the server has no room for more edits at the moment: keep yours in a file and try again in an hour"
            )

    def settle(self, session_id: str) -> None:
        """Weigh a visit after an action, and make room when all visits together hold too much.

        First those end that have no edits, or whose page was closed; then the others lose what is not their edits.
        """
        with self.lock:
            visits = {i: v for i, v in self.session_data.items() if isinstance(v, Visit)}
            if session_id in visits:
                self._weigh(visits[session_id])
            over = sum(visit.held for visit in visits.values()) - self.room.everyone
            idle = {i: v for i, v in visits.items() if i != session_id and not v.busy}
            for other, visit in sorted(idle.items(), key=lambda item: self._edited(item[1])):
                if over > 0 and (visit.is_closed or not self._edited(visit)):
                    over -= visit.held
                    self._end(other)
                    del idle[other]
            for visit in idle.values():
                if over > 0:
                    over -= visit.held
                    self._strip(visit)
                    over += visit.held

    def has_ended(self, state: SessionState | None, mark: Any) -> bool:
        """Whether a browser that sent ``mark`` shows edits which are not in its state."""
        if state is None or self.state is None or mark != MARK:
            return False
        session = state[self.state._id]
        return session.made == 0 and session.earlier is None

    def mark(self, state: SessionState | None) -> str | None:
        """What the browser shall send back from now on."""
        return MARK if self._edited(state) else None

    def pictures(self) -> set[str]:
        """Where the uploaded pictures lie that are open in a visit."""
        with self.lock:
            sessions = [self._session(visit) for visit in self.session_data.values()]
        return {session.picture_path for session in sessions if session and session.picture_path}

    def _session(self, state: SessionState | None) -> Session | None:
        if state is None or self.state is None:
            return None
        return cast("Session | None", state.state_data.get(self.state._id))

    def _edited(self, state: SessionState | None) -> bool:
        session = self._session(state)
        return session is not None and (len(session.repository) > 0 or session.earlier is not None)

    def _weigh(self, visit: Visit) -> None:
        session, counted = self._session(visit), set[int]()
        visit.kept = _kept(session, None, counted) if session else 0
        visit.held = visit.kept + size_of(visit.state_data, counted)

    def _strip(self, visit: Visit) -> None:
        """Leave a visit its edits alone; the picture is opened again from its upload when it is needed."""
        session = self._session(visit)
        visit.state_data.clear()
        if session is not None and self.state is not None:
            visit.state_data[self.state._id] = replace(
                session, history=(), forgotten=session.forgotten + len(session.history), asked=None, latest=None,
                picture=None, picture_path=None,
            )  # fmt: skip
        self._weigh(visit)

    def _end(self, session_id: str) -> None:
        self.session_data.pop(session_id, None)
        self.time_last_used.pop(session_id, None)

    def _forget_unfetched(self) -> None:
        """Forget the answers that nobody fetched for an hour, and the empty boxes for answers of visits that are over."""
        boxes = self.blocks._queue.pending_messages_per_session
        now, over = time.monotonic(), [i for i in list(boxes) if i not in self.session_data]
        self._unfetched = {i: self._unfetched.get(i, now) for i in over}
        for session_id, since in list(self._unfetched.items()):
            if now - since > SESSION_SECONDS:
                boxes.pop(session_id, None)
                self.blocks._queue.pending_event_ids_session.pop(session_id, None)


def _busy(state: SessionState | None) -> bool:
    return isinstance(state, Visit) and state.busy > 0


def _kept(session: Session, more: Any, counted: set[int] | None = None) -> int:
    """Bytes of a session that its visitor would not want to lose."""
    return size_of([session.repository, session.earlier, session.names, session.thumbnails, more], counted)


class VisitedBlocks(GatedBlocks):
    """Blocks that tell :class:`Visits` of every action, and a tab whose session has ended that it has."""

    def __init__(self, visits: Visits, **options: Any) -> None:
        super().__init__(**options)
        self.visits = visits

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False) -> Any:
        """As Gradio does; where the browser still shows edits that are gone, nothing is done in their place."""
        for block, given in zip(block_fn.inputs, inputs, strict=False):
            if block is self.visits.state and self.visits.has_ended(state, given):
                raise gr.Error(ENDED, duration=None, print_exception=False)
        given = await super().preprocess_data(block_fn, inputs, state, explicit_call)
        self.visits.note(state, paths_in(inputs))
        return given

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """As Gradio does, with the mark of the session in its place, which is else left empty."""
        output = await super().postprocess_data(block_fn, predictions, state)
        self.visits.note(state, paths_in(output))
        return [
            self.visits.mark(state) if block is self.visits.state else value
            for block, value in zip(block_fn.outputs, output, strict=True)
        ]

    async def process_api(self, *args: Any, **options: Any) -> dict[str, Any]:
        """As Gradio does; of a call without a session, to which Gradio lends its event's id, nothing is kept."""
        visit, session_id = options.get("state"), options.get("session_hash")
        if not isinstance(visit, Visit) or session_id is None:
            return await super().process_api(*args, **options)
        visit.busy += 1
        goes_on = False
        try:
            output = await super().process_api(*args, **options)
            goes_on = output["is_generating"]
        finally:
            visit.busy -= 1
            if not goes_on and session_id == options.get("event_id"):
                self.visits.end(session_id)
            elif not goes_on:
                self.visits.settle(session_id)
        return output
