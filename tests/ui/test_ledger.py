"""The ledger's rows, order, filter and pages; the gates; and that neither shows a person's text as markup."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from liveedit.config import EditorConfig
from liveedit.editors import LiveEdit
from liveedit.editors.comparison import Comparison
from liveedit.editors.streaming import Said
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Edit, ExpertTrace, InputError, Query, RoutingTrace
from liveedit.ui.expert_card import card_html, edit_heatmap
from liveedit.ui.gates import gates, outcome
from liveedit.ui.ledger import COLUMNS, LedgerView, acted, ledger_html, rows_of, sorted_rows
from liveedit.ui.session import Asked, Session

CONFIG = EditorConfig(hidden_size=4, layer=1, module_dim=4, rank=1, queries=1, heads=1, sentinel_tokens=4)
EVIL = '<img src=x onerror="alert(1)">{{x}}'


def session_of(count: int, said: str = "fox", **changes: dict[int, object]) -> Session:
    """``count`` edits whose margins fall from 0.5 by 0.25 each; those above zero passed and share the weight.

    ``changes`` replace fields of the traces by the edit's number, counted from 0.
    """
    repository = ExpertRepository.empty(CONFIG)
    picture = Image.new("RGB", (8, 8), "blue")
    edits = [Edit(picture, f"What is number {n}?", f"word{n}") for n in range(count)]
    zeros = torch.zeros(count, 1, 4)
    ids = repository.add(edits, zeros, zeros, zeros, zeros)
    rows = []
    for n, expert_id in enumerate(ids):
        margin = 0.5 - 0.25 * n
        row = ExpertTrace(expert_id, True, 1.0 + margin, 1.0, margin, margin > 0, 1.0 - n, 0.9, 0.5, 0.45)
        if not row.passed:
            row = replace(row, relative=0.0, weight=0.0)
        rows.append(replace(row, **{name: values[n] for name, values in changes.items() if n in values}))
    names = {expert_id: f"Edit {n + 1}" for n, expert_id in enumerate(ids)}
    trace = RoutingTrace(tuple(rows), 1.0, 0.0, True, "")
    comparison = Comparison(Said(Answer("fox", (1,))), Said(Answer(said, (2,), trace)))
    asked = Asked(Query(picture, "What?"), comparison, trace, "", "")
    return Session(repository, names, dict.fromkeys(ids, ""), count, asked=asked)


def shown(session: Session, view: LedgerView, text: str = "", passed_only: bool = False) -> list[str]:
    """Names of the rows on the page, in their order."""
    trace = session.asked.trace if session.asked else None
    return re.findall(r'class="name"[^>]*>([^<]+)<', ledger_html(session, trace, view, text, passed_only))


def test_every_number_stands_in_the_row_that_it_belongs_to() -> None:
    session = session_of(3, prompt_similarity={0: -2.5}, absolute={0: 0.75})
    html = ledger_html(session, session.asked.trace if session.asked else None, LedgerView())
    first = html[html.index("Edit 1") : html.index("</tr>", html.index("Edit 1"))]
    cells = re.findall(r'class="(\w+)">([^<]*)</td>', first)
    assert cells == [
        ("visual_similarity", "1.500"), ("threshold", "1.000"), ("margin", "0.500"), ("passed", "✓ yes"),
        ("prompt_similarity", "−2.500"), ("absolute", "0.75"), ("relative", "0.50"), ("weight", "0.45"),
    ]  # fmt: skip
    third = html[html.index("Edit 3") : html.index("</tr>", html.index("Edit 3"))]
    assert re.findall(r'class="(passed|relative|weight)">([^<]*)</td>', third) == [
        ("passed", "✕ no"), ("relative", "–"), ("weight", "–"),
    ]  # fmt: skip


def test_the_heaviest_come_first_and_every_column_sorts_both_ways() -> None:
    session = session_of(4, weight={1: 0.8})
    assert shown(session, LedgerView()) == ["Edit 2", "Edit 1", "Edit 3", "Edit 4"]
    view = LedgerView(sort="")
    ids = frozenset(e.id for e in session.repository)
    for column in COLUMNS:
        view = acted(view, "sort", column, ids)
        rows = sorted_rows(rows_of(session, session.asked.trace if session.asked else None), view)
        values = [row.value(column) for row in rows]
        assert values == sorted(values, reverse=column != "name"), column
        assert f'aria-sort="{"descending" if view.descending else "ascending"}" class="{column}"' in ledger_html(
            session, session.asked.trace if session.asked else None, view
        )
    assert acted(view, "sort", view.sort, ids).descending != view.descending


def test_text_and_passed_filter_rows() -> None:
    session = session_of(4)
    assert shown(session, LedgerView(), "NUMBER  2") == ["Edit 3"]
    assert shown(session, LedgerView(), "word1") == ["Edit 2"]
    assert shown(session, LedgerView(), "edit 4") == ["Edit 4"]
    assert shown(session, LedgerView(), passed_only=True) == ["Edit 1", "Edit 2"]
    none = ledger_html(session, session.asked.trace if session.asked else None, LedgerView(), EVIL)
    assert "None of 4 edits" in none
    assert "<img" not in none


def test_a_thousand_edits_are_shown_a_page_at_a_time() -> None:
    session = session_of(1000)
    ids = frozenset(e.id for e in session.repository)
    view = acted(LedgerView(), "sort", "name", ids)
    assert shown(session, view) == [f"Edit {n}" for n in range(1, 26)]
    assert shown(session, acted(view, "page", "on", ids))[0] == "Edit 26"
    last = acted(view, "page", "last", ids)
    assert shown(session, last) == [f"Edit {n}" for n in range(976, 1001)]
    html = ledger_html(session, session.asked.trace if session.asked else None, last)
    assert "976 to 1,000 of 1,000" in html
    assert len(html) < 60_000
    # A filter that leaves fewer rows than the page lies behind shows the last that there are.
    assert shown(session, last, "number 7")[-1] == "Edit 800"


def test_clicks_that_no_button_sends_are_refused() -> None:
    ids = frozenset({"a"})
    for action, item in (("sort", "edit"), ("page", "7"), ("expert", "b"), ("without", "b"), ("drop", "a"), ("", "")):
        with pytest.raises(InputError):
            acted(LedgerView(), action, item, ids)
    opened = acted(LedgerView(), "expert", "a", ids)
    assert opened.opened == "a"
    assert acted(opened, "expert", "a", ids).opened == ""
    assert acted(opened, "without", "a", ids).without == {"a"}


def test_without_a_question_the_numbers_are_dashes() -> None:
    session = replace(session_of(2), asked=None)
    html = ledger_html(session, None, LedgerView())
    assert html.count(">–<") == 2 * 8
    assert shown(session, LedgerView(), passed_only=True) == []
    assert "No edits yet" in ledger_html(Session(ExpertRepository.empty(CONFIG)), None, LedgerView())


@pytest.mark.parametrize(
    ("place", "said", "changes", "gate", "words"),
    [
        (0, "word0", {}, "", "as Edit 1 asks"),
        (0, "fox", {}, "Answer", "weight 0.60, but the answer stayed “fox”"),
        (0, "owl", {}, "Answer", "to “owl” instead of “word0”"),
        (3, "fox", {}, "Hard routing", "by 0.25 (visual similarity 0.750, threshold 1.000)"),
        (0, "fox", {"absolute": {0: 0.2}, "weight": {0: 0.1}}, "Soft routing", "hardly match the edit's prompt (absolute weight 0.20)"),
        (0, "fox", {"relative": {0: 0.3, 1: 0.7}, "weight": {0: 0.27}}, "Soft routing", "with Edit 2 (0.70) and keeps 0.30"),
        (0, "fox", {"weight": {0: 0.4}}, "Soft routing", "with Edit 2 (0.50) and keeps 0.50, so its residual counts only 0.40"),
        (0, "word0", {"weight": {0: 0.4}}, "", "as Edit 1 asks"),
    ],
)
def test_a_sentence_says_at_which_gate_an_edit_stopped_and_by_how_much(
    place: int, said: str, changes: dict[str, dict[int, object]], gate: str, words: str
) -> None:
    session = session_of(4, said, **{"weight": {0: 0.6}, **changes})
    expert_id = session.repository.experts[place].id
    took, sentence = outcome(session, expert_id)
    assert took is (gate == "")
    assert words in sentence
    shut = [g for g in gates(session, expert_id) if g.open is False]
    assert [g.name for g in shut] == ([gate] if gate else [])


def test_an_edit_that_is_off_says_what_it_would_do() -> None:
    session = session_of(4, active={0: False, 3: False}, passed={0: False})
    near, far = session.repository.experts[0], session.repository.experts[3]
    for expert in (near, far):
        session.repository.set_active(expert.id, False)
    assert "is switched off; switched on, it would pass hard routing by 0.50" in outcome(session, near.id)[1]
    assert "would still stop at hard routing, 0.25 below" in outcome(session, far.id)[1]
    assert [g.open for g in gates(session, near.id)] == [False, None, None, None, None]


def test_a_question_without_a_picture_stops_at_the_second_gate(wordy_session: Session) -> None:
    expert_id = wordy_session.repository.experts[0].id
    assert [g.open for g in gates(wordy_session, expert_id)] == [True, False, None, None, None]
    assert "no picture" in outcome(wordy_session, expert_id)[1]
    assert outcome(replace(wordy_session, asked=None), expert_id)[0] is None


def test_an_opened_row_holds_the_edit_in_full(open_editor: LiveEdit, busy_session: Session) -> None:
    expert = busy_session.repository.experts[3]
    heatmap = edit_heatmap(open_editor, busy_session, expert.id)
    assert heatmap.uri.startswith("data:image/webp")
    assert heatmap.note.startswith("Noise on tokens, key visual feature, 1 forward pass, ")
    trace = busy_session.asked.trace if busy_session.asked else None
    html = ledger_html(busy_session, trace, LedgerView(opened=expert.id), heatmaps={expert.id: heatmap})
    assert html.count('class="detail"') == 1
    assert heatmap.uri in html and heatmap.note in html
    assert expert.edit.target in html
    assert html.count('aria-expanded="true"') == 1
    assert "Leave out" in html
    assert "Put back" in card_html(busy_session, expert.id, None, without=True)


def test_what_a_person_types_stays_text(busy_session: Session) -> None:
    expert = busy_session.repository.experts[0]
    busy_session.repository.experts[0] = replace(expert, edit=Edit(expert.edit.image, EVIL, EVIL))
    trace = busy_session.asked.trace if busy_session.asked else None
    html = ledger_html(busy_session, trace, LedgerView(opened=expert.id))
    assert "<img src=x" not in html
    assert "{{" not in html
