"""The guided tour: each step works by itself."""

from __future__ import annotations

import pytest
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.ui.session import Session
from liveedit.ui.tour_panel import EDITED, MANY, NEIGHBOUR, STEPS, TARGET, take_step, tour_html

TITLES = (EDITED, NEIGHBOUR, *(title for title, _ in MANY))


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_each_step_makes_what_it_needs(open_editor: LiveEdit, pictures: list[Image], number: int) -> None:
    def open_example(title: str) -> Image:
        return pictures[TITLES.index(title)]

    session = take_step(open_editor, Session(open_editor.empty()), number, open_example)
    edits = [(e.edit.target, e.edit.image.tobytes()) for e in session.repository]
    assert (TARGET, open_example(EDITED).tobytes()) in edits
    assert len(edits) == (5 if number == 4 else 1)
    assert session.asked is not None
    assert session.asked.query.prompt == STEPS[number].prompt
    assert session.picture is not None
    same = session.picture.tobytes() == open_example(STEPS[number].example).tobytes()
    assert same == (not STEPS[number].altered)
    assert (session.latest is not None) == (number == 0)
    again = take_step(open_editor, session, number, open_example)
    assert len(again.repository) == len(edits)


def test_the_step_taken_says_what_to_look_at() -> None:
    assert "look" not in tour_html(None)
    html = tour_html(2)
    assert html.count('aria-current="step"') == 1
    assert STEPS[2].look[:20] in html
