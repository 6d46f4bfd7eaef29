"""The history of a session's questions, over a real editor with random weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from PIL import Image

from liveedit.editors import LiveEdit
from liveedit.types import InputError
from liveedit.ui import history
from liveedit.ui import session as actions
from liveedit.ui.ask_panel import answers_html, pending_html
from liveedit.ui.history_panel import history_html
from liveedit.ui.session import Pending, Session


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


def test_the_history_is_bounded(open_editor: LiveEdit, start: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST", 3)
    session = start
    for number in range(4):
        session = asked(open_editor, session, f"How many? {number}")
    assert len(session.history) == 3
    again = asked(open_editor, session, "How many? 3")
    assert [p.prompt for p in again.history] == [p.prompt for p in session.history]
    monkeypatch.setattr(history, "MOST_BYTES", 10)
    small = asked(open_editor, replace(again, picture=Image.new("RGB", (9, 9))), "What is it?")
    assert [p.prompt for p in small.history] == ["What is it?"]


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
