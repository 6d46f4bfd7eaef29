"""The history of a session's questions, over a real editor with random weights."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from liveedit.editors import LiveEdit
from liveedit.types import InputError
from liveedit.ui import history, keeping
from liveedit.ui import session as actions
from liveedit.ui.ask_panel import answers_html, pending_html
from liveedit.ui.feature_map import feature_map
from liveedit.ui.gates import outcome
from liveedit.ui.history_panel import history_html
from liveedit.ui.keeping import restore, session_file
from liveedit.ui.ledger import LedgerView, ledger_html
from liveedit.ui.report import report_file
from liveedit.ui.session import Pending, Session
from liveedit.ui.why_panel import weights_html
from liveedit.ui.wiring import Wiring
from liveedit.ui.wording import why


def asked(editor: LiveEdit, session: Session, prompt: str) -> Session:
    """The session after a question, and a look at the steps on the way."""
    *steps, last = actions.ask(editor, session, prompt)
    assert isinstance(last, Session) and last.asked is not None
    assert all(isinstance(step, Pending) for step in steps)
    texts = [step.edited.answer.text for step in steps if isinstance(step, Pending) and step.edited]
    assert texts[-1] == last.asked.edited.text
    return last


@pytest.fixture
def start(open_editor: LiveEdit, pictures: list[Image.Image]) -> Session:
    """A session with a picture and one edit on it."""
    session = replace(Session(open_editor.empty()), picture=pictures[0])
    return actions.apply_edit(open_editor, session, "What is it?", "teapot")


def test_a_question_is_reopened_as_it_was(open_editor: LiveEdit, start: Session, pictures: list[Image.Image]) -> None:
    first = asked(open_editor, start, "What can be seen here?")
    assert first.asked is not None
    elsewhere = asked(open_editor, replace(first, picture=None), "How many?")
    assert [p.prompt for p in elsewhere.history] == ["How many?", "What can be seen here?", "What is it?"]
    opened = actions.reopen(open_editor, elsewhere, 1)
    assert opened.asked is not None and opened.picture is not None
    assert opened.picture.tobytes() == pictures[0].tobytes()
    assert (opened.asked.base.text, opened.asked.edited.text) == (first.asked.base.text, first.asked.edited.text)
    assert opened.asked.comparison.edited_tokens == first.asked.comparison.edited_tokens
    assert [e.expert_id for e in opened.asked.trace.passed] == [e.expert_id for e in first.asked.trace.passed]
    assert not opened.outdated
    assert "before your edits changed" not in answers_html(opened)
    assert opened.history == elsewhere.history


def test_answers_of_other_edits_say_so(open_editor: LiveEdit, start: Session) -> None:
    (expert,) = (e.id for e in start.repository)
    gone = actions.remove(open_editor, start, expert)
    opened = actions.reopen(open_editor, gone, 0)
    assert opened.outdated
    assert opened.asked is not None
    assert opened.asked.edited == start.history[0].comparison.edited.answer
    assert not opened.asked.trace.experts
    assert "before your edits changed" in answers_html(opened)
    assert "other edits" in history_html(opened)
    assert "other edits" not in history_html(start)


def test_a_question_whose_edits_are_gone_is_shown_all_the_same(
    open_editor: LiveEdit, start: Session, wiring: Wiring, tmp_path: Path
) -> None:
    gone = actions.remove(open_editor, start, start.repository.experts[0].id)
    path = tmp_path / "session.zip"
    session_file(gone, path)
    for opened in (actions.reopen(open_editor, gone, 0), restore(open_editor, Session(open_editor.empty()), path)):
        assert opened.asked is not None and opened.outdated
        assert wiring.view(opened)
        assert why(opened) == "When this was asked, 1 of 1 edit passed the hard filter; what weighed most is gone."
        assert "1 edit routed" in answers_html(opened)
        assert b"what weighed most is gone" in report_file(opened, "a model")


@pytest.fixture
def reopened(open_editor: LiveEdit, busy_session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A question that six edits answered, of which two were kept; one more edit was made since."""
    monkeypatch.setattr(history, "KEPT_EXPERTS", 2)
    monkeypatch.setattr(keeping, "KEPT_EXPERTS", 2)
    kept = actions.remembering(busy_session)
    return actions.reopen(open_editor, actions.apply_edit(open_editor, kept, "And this?", "pear"), 1)


def test_what_was_not_kept_is_not_said_to_be_otherwise(
    open_editor: LiveEdit, reopened: Session, tmp_path: Path, wiring: Wiring
) -> None:
    assert reopened.asked is not None
    names = {e.edit.target: e.id for e in reopened.repository}
    kept = [row.expert_id for row in reopened.asked.trace.experts]
    unkept = next(i for target, i in names.items() if i not in kept and target != "pear")
    path = tmp_path / "session.zip"
    session_file(reopened, path)
    back = restore(open_editor, Session(open_editor.empty()), path)
    for opened in (reopened, actions.reopen(open_editor, back, 1)):
        assert wiring.view(opened)
        assert "6 of 6 edits passed the hard filter" in why(opened)
        assert "6 edits routed" in answers_html(opened)
        assert "and 4 more." in weights_html(opened)
        assert b"6 edits, those that passed hard routing first. The 2 that came nearest" in report_file(opened, "")
        assert outcome(opened, unkept)[0] is None
        assert "not among them" in outcome(opened, unkept)[1]
        assert "was not there yet" in outcome(opened, names["pear"])[1]
        found = feature_map(opened)
        assert found is not None
        kinds = {place.expert_id: place.kind for place in found.places if place.expert_id}
        assert {i for i, kind in kinds.items() if kind == "unasked"} == set(names.values()) - set(kept)


def test_a_file_of_an_older_version_says_no_more_than_it_knows(
    open_editor: LiveEdit, reopened: Session, tmp_path: Path
) -> None:
    session_file(reopened, tmp_path / "whole.zip")
    with zipfile.ZipFile(tmp_path / "whole.zip") as whole, zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
        for name in whole.namelist():
            data = whole.read(name)
            if name == keeping.TABLE:
                table = json.loads(data)
                for part, given in ((table, ("ids", "forgotten")), *((row, ("ids", "passed")) for row in table["history"])):
                    for key in given:
                        del part[key]
                data = json.dumps(table).encode()
            old.writestr(name, data)
    back = actions.reopen(open_editor, restore(open_editor, Session(open_editor.empty()), tmp_path / "old.zip"), 1)
    assert back.asked is not None and back.asked.count is None
    assert "2 edits passed the hard filter" in why(back)
    assert "not among them" in outcome(back, back.repository.experts[-1].id)[1]
    assert b"Edits, those that passed hard routing first. The 2 that came nearest" in report_file(back, "")


def test_an_edit_that_was_off_then_is_not_said_to_be_weak(open_editor: LiveEdit, busy_session: Session) -> None:
    expert = busy_session.repository.experts[2].id
    off = asked(open_editor, actions.switch(open_editor, busy_session, expert), "What is it?")
    opened = actions.reopen(open_editor, actions.switch(open_editor, off, expert), 0)
    assert opened.asked is not None and opened.repository.get(expert).active
    said = outcome(opened, expert)[1]
    assert "Edit 3 was switched off when this was asked; switched on, it would pass hard routing by" in said
    assert '<tr role="row" class="off"' in ledger_html(opened, opened.asked.trace, LedgerView())
    found = feature_map(opened)
    assert found is not None
    assert [place.name for place in found.places if place.kind == "off"] == ["Edit 3"]


def test_the_history_is_bounded(open_editor: LiveEdit, start: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST", 3)
    session = start
    for number in range(4):
        session = asked(open_editor, session, f"How many? {number}")
    assert len(session.history) == 3
    again = asked(open_editor, session, "How many? 3")
    assert [p.prompt for p in again.history] == [p.prompt for p in session.history]
    assert (start.forgotten, session.forgotten, again.forgotten) == (0, 2, 2)
    assert "no longer kept" in history_html(session)


def test_pictures_that_take_too_much_go_and_the_list_says_so(
    open_editor: LiveEdit, start: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 10)
    assert "no longer kept" not in history_html(start)
    small = asked(open_editor, replace(start, picture=Image.new("RGB", (9, 9))), "What is it?")
    assert [p.prompt for p in small.history] == ["What is it?"]
    assert "Questions so far: 1 (older ones are no longer kept)" in history_html(small)
    path = tmp_path / "session.zip"
    session_file(small, path)
    assert "no longer kept" in history_html(restore(open_editor, Session(open_editor.empty()), path))


def test_questions_on_one_picture_share_it(open_editor: LiveEdit, start: Session) -> None:
    session = asked(open_editor, start, "How many?")
    assert session.history[0].picture is session.history[1].picture
    assert copy.deepcopy(session).history[0].prompt == "How many?"


def test_what_is_not_in_the_history_is_refused(open_editor: LiveEdit, start: Session) -> None:
    for number in (-1, 1):
        with pytest.raises(InputError, match="no longer kept"):
            actions.reopen(open_editor, start, number)


def test_pending_answers_are_shown_as_far_as_they_came(open_editor: LiveEdit, start: Session) -> None:
    first, second, *_ = actions.ask(open_editor, start, "<b>What?</b>")
    assert isinstance(first, Pending) and isinstance(second, Pending)
    assert ">…</p>" in pending_html(first)
    assert "&lt;b&gt;" in pending_html(second)


def test_a_question_is_known_by_what_it_is_and_not_by_its_place(open_editor: LiveEdit, start: Session) -> None:
    (name,) = re.findall('data-item="([^"]+)"', history_html(start))
    *_, later = actions.ask(open_editor, start, "And now?")
    assert isinstance(later, Session)
    assert re.findall('data-item="([^"]+)"', history_html(later))[1] == name == later.history[1].key
    assert len({past.key for past in later.history}) == len(later.history) == 2
