"""What-ifs: routed again from kept features without the backbone, and answered with these settings on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from liveedit.editors import LiveEdit
from liveedit.types import InputError
from liveedit.ui import session as actions
from liveedit.ui.history import edits_digest
from liveedit.ui.ledger import LedgerView, ledger_html
from liveedit.ui.ledger_panel import revision_of
from liveedit.ui.session import Session
from liveedit.ui.what_if import WhatIf, answered, routed, what_if_html


@contextmanager
def counted(editor: LiveEdit) -> Iterator[list[str]]:
    """Which of backbone and editor modules run inside."""
    ran: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: ran.append(name)

    parts: list[tuple[str, Any]] = [("backbone", editor.backbone.model)]
    parts += [(name, module) for name, module in editor.modules.named_modules() if name]
    handles = [module.register_forward_pre_hook(note(name)) for name, module in parts]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


def test_routing_again_runs_neither_the_backbone_nor_the_editor_s_modules(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    first = busy_session.repository.experts[0].id
    with counted(open_editor) as ran:
        trace = routed(open_editor, busy_session, WhatIf(-0.1, 2.0, frozenset({first})))
    assert trace is not None
    assert ran == []
    with counted(open_editor) as ran:
        answered(open_editor, busy_session, WhatIf(0.0, 2.0))
    assert "backbone" in ran


def test_the_real_settings_give_the_trace_of_the_answer(open_editor: LiveEdit, busy_session: Session) -> None:
    asked = busy_session.asked
    assert asked is not None and asked.features is not None
    assert routed(open_editor, busy_session, WhatIf()) is asked.trace
    again = open_editor.route_features(busy_session.repository, asked.features)
    for kept, row in zip(asked.trace.experts, again.experts, strict=True):
        assert row.expert_id == kept.expert_id
        assert row.visual_similarity == pytest.approx(kept.visual_similarity, abs=1e-4)
        assert row.weight == pytest.approx(kept.weight, abs=1e-5)


def test_each_setting_does_what_it_says_and_leaves_the_session_alone(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    asked = busy_session.asked
    assert asked is not None
    real = {row.expert_id: row for row in asked.trace.experts}
    assert all(row.passed for row in real.values())
    lowest = min(real.values(), key=lambda row: row.margin)

    shifted = routed(open_editor, busy_session, WhatIf(-(lowest.margin + 1e-3)))
    assert shifted is not None
    assert lowest.expert_id not in {row.expert_id for row in shifted.passed}

    heaviest = asked.trace.passed[0]
    without = routed(open_editor, busy_session, WhatIf(without=frozenset({heaviest.expert_id})))
    assert without is not None
    left = {row.expert_id: row for row in without.experts}
    assert left[heaviest.expert_id].weight == 0.0
    assert sum(row.relative for row in left.values()) == pytest.approx(1.0, abs=1e-5)
    second = asked.trace.passed[1].expert_id
    assert left[second].relative > real[second].relative

    scaled = routed(open_editor, busy_session, WhatIf(scale=2.5))
    assert scaled is not None
    for row in scaled.experts:
        assert row.weight == pytest.approx(2.5 * real[row.expert_id].weight, rel=1e-5)
    assert all(e.active and e.scale == 1.0 for e in busy_session.repository)


def test_the_answer_on_request_is_the_one_of_an_editor_with_these_settings(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    asked = busy_session.asked
    assert asked is not None
    none_left = frozenset(e.id for e in busy_session.repository)
    assert answered(open_editor, busy_session, WhatIf(without=none_left)).tokens == asked.base.tokens
    barred = answered(open_editor, busy_session, WhatIf(-1e3))
    assert barred.tokens == asked.base.tokens
    assert barred.trace.routed and not barred.trace.passed

    heaviest = asked.trace.passed[0].expert_id
    what_if = WhatIf(without=frozenset({heaviest}))
    removed = busy_session.copy()
    removed.repository.remove(heaviest)
    expected = open_editor.answer(removed.repository, asked.query)
    assert answered(open_editor, busy_session, what_if).tokens == expected.tokens


def test_features_are_kept_through_switching_and_dropped_with_the_question(
    open_editor: LiveEdit, busy_session: Session, wordy_session: Session
) -> None:
    assert busy_session.asked is not None
    switched = actions.switch(open_editor, busy_session, busy_session.repository.experts[0].id)
    assert switched.asked is not None
    assert switched.asked.features is busy_session.asked.features
    assert wordy_session.asked is not None
    assert wordy_session.asked.features is None
    assert routed(open_editor, wordy_session, WhatIf(1.0)) is wordy_session.asked.trace


def test_what_a_browser_sends_is_checked(busy_session: Session) -> None:
    assert WhatIf.checked(3, 99.0, frozenset()) == WhatIf(3.0, 4.0)
    for bad in ("1", None, float("nan"), True, [1]):
        with pytest.raises(InputError, match="no number"):
            WhatIf.checked(bad, 1.0, frozenset())
    first = busy_session.repository.experts[0].id
    told = WhatIf(0.5, 2.0, frozenset({first, "gone"})).told(busy_session)
    assert told == "margin +0.50, residual × 2.00, without Edit 1"
    assert WhatIf().told(busy_session) == ""


def test_margin_shift_reaches_every_row_of_a_batch(open_editor: LiveEdit, busy_session: Session) -> None:
    asked = busy_session.asked
    assert asked is not None
    both = open_editor.answer(busy_session.repository, [asked.query, asked.query], margin_shift=-1e3)
    assert [a.trace.margin_shift for a in both] == [-1e3, -1e3]
    assert {a.tokens for a in both} == {asked.base.tokens}


def test_what_is_tried_is_taken_back_by_other_edits_and_questions_alone(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    def ask() -> Session:
        *_, last = actions.ask(open_editor, busy_session, "What is it?")
        assert isinstance(last, Session)
        return last

    shown = revision_of(busy_session)
    # What follows an edit or a question (its probe, its heatmaps) changes neither.
    assert revision_of(replace(busy_session, latest=busy_session.repository.experts[0].id)) == shown
    first = busy_session.repository.experts[0].id
    others = [actions.switch(open_editor, busy_session, first), actions.remove(open_editor, busy_session, first), ask()]
    assert len({shown, *map(revision_of, others)}) == 4


def test_an_open_edit_says_while_something_is_tried_that_its_gates_are_the_real_answer_s(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    view = LedgerView(opened=busy_session.repository.experts[0].id)
    trace = routed(open_editor, busy_session, WhatIf(margin_shift=-20.0))
    assert "In the real answer" in ledger_html(busy_session, trace, view, trying=True)
    assert "In the real answer" not in ledger_html(busy_session, trace, view)


def test_of_a_reopened_question_a_what_if_speaks_of_the_edits_of_then(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    gone = actions.remove(open_editor, actions.remembering(busy_session), busy_session.repository.experts[0].id)
    number = next(i for i, past in enumerate(gone.history) if past.edits != edits_digest(gone.repository))
    then, what_if = actions.reopen(open_editor, gone, number), WhatIf(margin_shift=-20.0)
    said = what_if_html(then, what_if, routed(open_editor, then, what_if), None)
    assert "5 of 5 edits would pass; under the edits of then 6 did." in said
    assert "really" not in said
