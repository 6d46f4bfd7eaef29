"""Visits: who may stay, what goes first when memory runs short, and how a tab learns that its session has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL.Image import Image

from liveedit.data.bulk import Bulk
from liveedit.editors import LiveEdit
from liveedit.experts import Limits
from liveedit.types import Edit, InputError
from liveedit.ui import session as actions
from liveedit.ui import visits as module
from liveedit.ui.page import build_page
from liveedit.ui.room import Room, size_of
from liveedit.ui.session import Session
from liveedit.ui.visits import MARK, SESSION_SECONDS, VisitedBlocks, Visits


@pytest.fixture(scope="module")
def page(open_editor: LiveEdit) -> VisitedBlocks:
    return build_page(open_editor)


@pytest.fixture
def visits(page: VisitedBlocks) -> Visits:
    """No visitors yet, on a server with much room."""
    made = Visits(Room(10**9, 10**9, Limits()))
    made.state = page.visits.state
    made.set_blocks(page)
    return made


def come(visits: Visits, name: str, session: Session | None = None) -> Any:
    """A visitor, with a session when they did something."""
    visit: Any = visits[name]
    if session is not None and visits.state is not None:
        visit[visits.state._id] = session
        visits.settle(name)
    return visit


def test_of_too_many_visitors_those_with_edits_stay(visits: Visits, open_editor: LiveEdit, busy_session: Session) -> None:
    visits.capacity = 3
    come(visits, "editor", busy_session)
    come(visits, "undone", Session(open_editor.empty(), earlier=busy_session.before("6 edits removed")))
    for number in range(100):
        come(visits, f"call {number}", Session(open_editor.empty(), made=0))
    assert list(visits.session_data) == ["editor", "undone", "call 99"]
    assert set(visits.time_last_used) == set(visits.session_data)
    for name in "abc":
        come(visits, name, busy_session)
    assert set("abc") < set(visits.session_data), "edits are not dropped for a number"


def test_a_visit_keeps_nothing_that_the_page_shows(visits: Visits) -> None:
    visit = come(visits, "a")
    assert visit.config_values == {}
    visit._update_value_in_config(next(iter(visit.blocks_config.blocks)), "a long answer")
    assert visit.config_values == {}


def test_visits_end_an_hour_after_their_last_action(visits: Visits, busy_session: Session) -> None:
    for name in ("new", "old", "busy"):
        come(visits, name, busy_session)
    for name in ("old", "busy"):
        visits.time_last_used[name] = datetime.now() - timedelta(seconds=SESSION_SECONDS + 5)
    visits.session_data["busy"].busy = 1  # type: ignore[attr-defined]
    visits.delete_all_expired_state()
    assert set(visits.session_data) == {"new", "busy"}


def test_a_closed_tab_that_is_heard_again_is_open(visits: Visits) -> None:
    come(visits, "a").is_closed = True
    assert not come(visits, "a").is_closed


def test_files_that_a_waiting_action_names_stay(
    visits: Visits, page: VisitedBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(module, "FRESH_SECONDS", -1)
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(b"x")
    foreign = tmp_path.parent / f"{tmp_path.name}.txt"
    foreign.write_text("x")
    come(visits, "me").busy = 1
    visits.note(visits["me"], [*map(str, paths), str(foreign), f"{tmp_path}/../{foreign.name}", "no\0path"])
    waiting = {"event": SimpleNamespace(data=SimpleNamespace(data=["What?", {"path": str(paths[0])}]))}
    monkeypatch.setattr(page._queue, "event_ids_to_events", waiting)
    visits.leave("me")
    assert [path.exists() for path in paths] == [True, False]
    waiting.clear()
    visits.remove_left()
    assert not paths[0].exists() and foreign.exists()
    visits.leave("nobody")


def test_answers_that_nobody_fetches_are_forgotten(visits: Visits, page: VisitedBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: dict[str, Any] = {"left": object(), "here": object()}
    monkeypatch.setattr(page._queue, "pending_messages_per_session", boxes)
    monkeypatch.setattr(page._queue, "pending_event_ids_session", {"left": {"x"}})
    come(visits, "here")
    visits.delete_all_expired_state()
    assert set(boxes) == {"left", "here"}
    monkeypatch.setattr(module, "SESSION_SECONDS", -1)
    visits._forget_unfetched()
    assert set(boxes) == {"here"} and page._queue.pending_event_ids_session == {}


def test_without_room_those_without_edits_go_first_and_edits_last(
    visits: Visits, open_editor: LiveEdit, busy_session: Session, pictures: list[Image]
) -> None:
    asked = replace(actions.remembering(busy_session), picture_path="upload.png")
    idle = Session(open_editor.empty(), picture=pictures[1])
    come(visits, "editor", asked)
    come(visits, "guest", idle)
    come(visits, "closed", busy_session.copy()).is_closed = True
    come(visits, "asker", idle)
    assert size_of([asked]) > visits.session_data["editor"].kept > 0  # type: ignore[attr-defined]
    held = sum(v.held for v in visits.session_data.values())  # type: ignore[attr-defined]

    def settled(room: int) -> set[str]:
        visits.room = Room(10**9, room, Limits())
        visits.settle("asker")
        return set(visits.session_data)

    assert settled(held) == {"editor", "guest", "closed", "asker"}
    assert settled(held - 1) == {"editor", "closed", "asker"}
    assert settled(sum(visits.session_data[i].held for i in ("editor", "asker"))) == {"editor", "asker"}  # type: ignore[attr-defined]
    assert settled(0) == {"editor", "asker"}
    assert visits.state is not None
    left = visits.session_data["editor"].state_data[visits.state._id]
    assert left.repository is asked.repository and left.names == asked.names and left.made == asked.made
    assert (left.history, left.asked, left.picture, left.picture_path) == ((), None, None, None)


def test_an_action_that_runs_keeps_its_visit(visits: Visits, open_editor: LiveEdit, pictures: list[Image]) -> None:
    idle = Session(open_editor.empty(), picture=pictures[1])
    come(visits, "running", idle).busy = 1
    come(visits, "asker", idle)
    visits.room = Room(0, 0, Limits())
    visits.settle("asker")
    assert set(visits.session_data) == {"running", "asker"}


def test_edits_need_room_in_the_session_and_on_the_server(visits: Visits, open_editor: LiveEdit, busy_session: Session, pictures: list[Image]) -> None:
    empty = Session(open_editor.empty(), picture=pictures[1])
    one = actions.apply_edit(open_editor, empty, "What is it?", "teapot")
    need = size_of([one.repository, one.earlier, one.names, one.thumbnails])
    come(visits, "me", empty)
    visits.room = Room(need, need, Limits())
    visits.admit(empty, one)
    bulk = Bulk([(1, Edit(pictures[2], "What is it?", "teapot"))])
    with pytest.raises(InputError, match="a session has room for"):
        visits.admit(one, one, bulk)
    come(visits, "other", busy_session)
    with pytest.raises(InputError, match="no room for more edits at the moment"):
        visits.admit(empty, one)
    visits.admit(one, one.copy())
    visits.session_data["other"].is_closed = True
    visits.admit(empty, one)


def test_a_tab_that_shows_edits_which_are_gone_is_known(visits: Visits, open_editor: LiveEdit, busy_session: Session) -> None:
    mine = come(visits, "me", busy_session)
    assert visits.mark(mine) == MARK and not visits.has_ended(mine, MARK)
    emptied = replace(busy_session, repository=open_editor.empty())
    assert not visits.has_ended(come(visits, "me", emptied), MARK)
    visits.end("me")
    again = come(visits, "me")
    assert visits.mark(again) is None
    assert visits.has_ended(again, MARK)
    for given in (None, "", 5, [MARK]):
        assert not visits.has_ended(again, given)


def finished(call: Coroutine[Any, Any, None]) -> None:
    """Run a call to its end, in a thread of its own: the main one's loop may be that of a browser."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, call).result()


def test_calls_without_a_session_leave_nothing(page: VisitedBlocks, visits: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "visits", visits)

    async def call(session: str, event: str | None, generating: bool = False) -> None:
        async def answer(*_: Any, **__: Any) -> dict[str, Any]:
            assert visits.session_data[session].busy == 1  # type: ignore[attr-defined]
            return {"is_generating": generating}

        monkeypatch.setattr(module.GatedBlocks, "process_api", answer)
        await page.process_api(state=visits[session], session_hash=session, event_id=event)

    finished(call("visitor", "event"))
    finished(call("click", None))
    finished(call("call", "call"))
    finished(call("stream", "stream", generating=True))
    assert list(visits.session_data) == ["visitor", "click", "stream"]
    finished(call("stream", "stream"))
    assert list(visits.session_data) == ["visitor", "click"]
    assert all(v.busy == 0 for v in visits.session_data.values())  # type: ignore[attr-defined]
