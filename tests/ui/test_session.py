"""A person's state and what the page says about it, with an editor that needs no weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image

from liveedit.config import EditorConfig
from liveedit.editors import LiveEdit
from liveedit.editors.streaming import Said
from liveedit.evaluation.probing import Outcome
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Edit, ExpertTrace, InputError, Query, RepositoryError, RoutingTrace
from liveedit.ui import session as actions
from liveedit.ui.ask_panel import answers_html, suggestions_html
from liveedit.ui.edit_panel import check_html
from liveedit.ui.edits_panel import edits_html
from liveedit.ui.gates import verdict
from liveedit.ui.history_panel import history_html
from liveedit.ui.markup import distance, escape, number, percent, sentence, shorten
from liveedit.ui.probe_panel import probe_html
from liveedit.ui.session import Session
from liveedit.ui.why_panel import weights_html
from liveedit.ui.wording import why

CONFIG = EditorConfig(hidden_size=8, layer=1, module_dim=8, rank=2, queries=2, heads=2, sentinel_tokens=4)
EVIL = '<img src=x onerror="alert(1)">\'{{constructor}}${alert(1)}`'


@dataclass
class PretendEditor:
    """Says an edit's target when the picture has the edit's colour; ``margins`` overrules by target.

    The contract it keeps is the editor's: ``edit`` adds experts, ``answer`` traces every expert.
    """

    margins: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def backbone(self) -> PretendEditor:
        return self

    def check_prompt(self, prompt: str) -> None:
        if not prompt:
            raise InputError("the question is empty: type a question")

    def edit(self, repository: ExpertRepository, edits: Sequence[Edit]) -> list[str]:
        for edit in edits:
            if not edit.target:
                raise InputError("the new answer is empty: type what the model shall say")
        one = torch.zeros(len(edits), 2, 8)
        return repository.add(list(edits), one, one, one, one)

    def query_features(self, queries: Sequence[Query]) -> list[Query]:
        return list(queries)

    def route_features(self, repository: ExpertRepository, query: Query) -> RoutingTrace:
        rows = []
        for e in repository:
            same = e.edit.image.getpixel((0, 0)) == query.image.getpixel((0, 0))  # type: ignore[union-attr]
            margin = self.margins.get(e.edit.target, 0.4 if same else -0.12)
            passed = margin > 0 and e.active
            weight = self.weights.get(e.edit.target, 0.9) if passed else 0.0
            rows.append(ExpertTrace(e.id, e.active, 0.5 + margin, 0.5, margin, passed, 1.0, 0.9, 1.0, weight))
        return RoutingTrace(tuple(rows), 0.5, 0.0, True, "")

    def answer(self, repository: ExpertRepository | None, query: Query) -> Answer:
        self.asked.append(query.prompt)
        if repository is None or not repository.any_active or query.image is None:
            return Answer("fox", (1,), RoutingTrace(reason="The answer is the unedited model's."))
        trace = self.route_features(repository, query)
        said = repository.get(trace.passed[0].expert_id).edit.target if trace.passed else "fox"
        return Answer(said, (2,), trace)

    def stream(self, repository: ExpertRepository | None, query: Query, max_new_tokens: int = 32) -> Iterator[Said]:
        answer = self.answer(repository, query)
        yield Said(answer, (answer.text,), (0.75,))

    def probabilities(self, repository: ExpertRepository | None, query: Query, tokens: Sequence[int]) -> tuple[float, ...]:
        return (0.25,) * len(tokens)


def pretend(**options: dict[str, float]) -> LiveEdit:
    return cast(LiveEdit, PretendEditor(**options))


@pytest.fixture
def start(tmp_path: Path) -> Session:
    """A session with a blue picture."""
    path = tmp_path / "blue.png"
    Image.new("RGB", (32, 32), "blue").save(path)
    return actions.with_picture(Session(ExpertRepository.empty(CONFIG)), str(path))


def test_an_edit_takes_and_is_taken_back(start: Session) -> None:
    editor = pretend()
    edited = actions.apply_edit(editor, start, " What is this? ", "banana")
    assert edited.asked is not None
    assert (edited.asked.base.text, edited.asked.edited.text) == ("fox", "banana")
    assert verdict(edited) == (True, "The edit took: the model now answers “banana”.")
    assert "Edit 1 passed the hard filter" in why(edited)
    assert "Edit 1" in weights_html(edited)
    assert "<b>0.90</b>" in weights_html(edited)
    expert = edited.repository.experts[0].id

    off = actions.switch(editor, edited, expert)
    assert off.asked is not None
    assert off.asked.edited.text == "fox"
    assert verdict(off) == (False, "")
    assert "The edit took" not in check_html(off)
    # All edits are off, yet the trace still has the numbers.
    assert off.asked.trace.experts[0].margin == 0.4
    assert weights_html(off) == ""
    assert edited.repository.experts[0].active, "the earlier value is untouched"

    gone = actions.remove(editor, off, expert)
    assert len(gone.repository) == 0
    assert not gone.names
    assert not gone.thumbnails
    assert len(off.repository) == 1


def test_the_last_change_is_undone_and_made_again(start: Session) -> None:
    editor = pretend()
    one = actions.apply_edit(editor, start, "What?", "banana")
    expert = one.repository.experts[0].id
    none = actions.undo(editor, one)
    assert len(none.repository) == 0
    assert none.asked is not None and none.asked.edited.text == "fox"
    assert "Redo: Edit 1 added" in edits_html(none)
    again = actions.undo(editor, none)
    assert again.asked is not None and again.asked.edited.text == "banana"
    assert "Undo: Edit 1 added" in edits_html(again)

    removed = actions.remove(editor, actions.switch(editor, again, expert), expert)
    back = actions.undo(editor, removed)
    assert [(e.id, e.active) for e in back.repository] == [(expert, False)]
    assert back.name(expert) == "Edit 1" and expert in back.thumbnails
    actions.switch(editor, back, expert)
    assert not back.repository.experts[0].active
    with pytest.raises(InputError, match="nothing to undo"):
        actions.undo(editor, start)
    # A name is never given twice, even when what had it is undone.
    assert list(actions.apply_edit(editor, none, "What?", "pear").names.values()) == ["Edit 2"]


def test_an_edit_takes_the_place_of_one_that_asks_the_same_of_the_same_picture(start: Session, tmp_path: Path) -> None:
    editor = pretend(weights={"green": 0.1})
    first = actions.apply_edit(editor, start, "What is this?", "banana")
    other = actions.apply_edit(editor, first, "What colour is it?", "green")
    second = actions.apply_edit(editor, other, " what is  this? ", "pear")
    assert [expert.active for expert in second.repository] == [False, True, True]
    assert second.asked is not None and second.asked.edited.text == "pear"
    took, said = verdict(second)
    assert took
    assert said.endswith("Edit 1, which asks the same of this picture, is switched off.")
    third = actions.apply_edit(editor, second, "What is this?", "plum")
    assert [expert.active for expert in third.repository] == [False, True, False, True]
    assert verdict(third)[1].endswith("Edit 1 and Edit 3, which ask the same of this picture, are switched off.")
    many = third
    for answer in ("fig", "kiwi"):
        many = actions.apply_edit(editor, many, "What is this?", answer)
    assert verdict(many)[1].endswith(" 4 earlier edits, which ask the same of this picture, are switched off.")
    # One step back brings the one before back too.
    assert [expert.active for expert in actions.undo(editor, third).repository] == [False, True, True]
    # Switched on again on purpose, it stays on.
    both = actions.switch(editor, second, second.repository.experts[0].id)
    assert [expert.active for expert in both.repository] == [True, True, True]

    path = tmp_path / "nearly blue.png"
    picture = Image.new("RGB", (32, 32), "blue")
    picture.putpixel((17, 19), (0, 0, 254))
    picture.save(path)
    elsewhere = actions.apply_edit(editor, actions.with_picture(first, str(path)), "What is this?", "pear")
    assert [expert.active for expert in elsewhere.repository] == [True, True]


def test_of_many_edits_the_last_that_asks_the_same_stands(start: Session) -> None:
    editor = pretend()
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    rows = [(red, "What?", "one"), (blue, "What?", "two"), (red, "what?", "three"), (red, "Which?", "four")]
    once = actions.apply_many(editor, start, [Edit(*row) for row in rows])
    assert [expert.active for expert in once.repository] == [False, True, True, True]
    again = actions.apply_many(editor, once, [Edit(blue, "What?", "five")])
    assert [expert.active for expert in again.repository] == [False, False, True, True, True]


def test_names_stay_when_others_are_removed(start: Session) -> None:
    editor = pretend()
    two = actions.apply_edit(editor, actions.apply_edit(editor, start, "a?", "one"), "b?", "two")
    first, second = (e.id for e in two.repository)
    left = actions.remove(editor, two, first)
    third = actions.apply_edit(editor, left, "c?", "three")
    assert left.name(second) == "Edit 2"
    assert sorted(third.names.values()) == ["Edit 2", "Edit 3"]


def test_sentences_say_why_an_edit_did_not_take(start: Session) -> None:
    stopped = actions.apply_edit(pretend(margins={"banana": -0.12}), start, "What?", "banana")
    assert verdict(stopped)[1] == (
        "It did not take: the model answers “fox”. Edit 1 stopped at hard routing: what the question looks at is too "
        "unlike the edit's picture, by 0.12 (visual similarity 0.380, threshold 0.500)."
    )
    assert "stopped at the hard filter by 0.12" in why(stopped)
    editor = pretend(weights={"one": 0.8, "two": 0.1})
    outweighed = actions.apply_edit(editor, actions.apply_edit(editor, start, "a?", "one"), "b?", "two")
    assert "Edit 2 keeps a weight of only 0.10 after soft routing" in verdict(outweighed)[1]
    already = actions.apply_edit(pretend(), start, "What?", "Fox.")
    assert verdict(already)[0]
    assert "before the edit already" in verdict(already)[1]


def test_refused_actions_leave_the_session_as_it_was(start: Session) -> None:
    editor = pretend()
    session = actions.apply_edit(editor, start, "What?", "banana")
    with pytest.raises(InputError):
        actions.apply_edit(editor, session, "What?", "")
    with pytest.raises(RepositoryError):
        actions.switch(editor, session, "no such edit")
    with pytest.raises(InputError):
        actions.with_picture(session, str(start.picture_path) + ".missing")
    assert len(session.repository) == 1
    assert session.asked is not None


def test_an_edit_needs_a_picture_and_a_question_does_not() -> None:
    empty = Session(ExpertRepository.empty(CONFIG))
    with pytest.raises(InputError, match="needs a picture"):
        actions.apply_edit(pretend(), empty, "What?", "banana")
    steps = list(actions.ask(pretend(), empty, "What is the capital of Japan?"))
    assert isinstance(steps[-1], Session)
    assert "without a picture" in answers_html(steps[-1])


def test_a_new_picture_clears_what_was_said_about_the_old(start: Session, tmp_path: Path) -> None:
    session = actions.apply_edit(pretend(), start, "What?", "banana")
    assert actions.with_picture(session, session.picture_path) is session
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    other = actions.with_picture(session, str(tmp_path / "red.png"))
    assert other.asked is None
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "the same.png")
    again = actions.with_picture(session, str(tmp_path / "the same.png"))
    assert again.asked is session.asked
    assert len(other.repository) == 1


def test_a_session_survives_deep_copying(start: Session) -> None:
    session = actions.apply_edit(pretend(), start, "What?", "banana")
    twin = copy.deepcopy(session)
    twin.repository.remove(twin.repository.experts[0].id)
    assert len(session.repository) == 1


class _Tags(HTMLParser):
    """Collects tags and attribute names, to see that a person's text made none."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {f"{tag}.{name}" for name, _ in attrs} | {tag}


def test_what_a_person_types_stays_text(start: Session) -> None:
    session = actions.apply_edit(pretend(), start, EVIL, EVIL)
    for html in (answers_html(session), history_html(session), edits_html(session), weights_html(session), check_html(session), suggestions_html([EVIL])):
        tags = _Tags()
        tags.feed(html)
        assert not {t for t in tags.seen if "onerror" in t}
        assert not any(sign in html for sign in ("{{", "${", "`", "<img src=x"))
    assert escape("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#x27;"
    assert escape("a\x00\x1b\u202ecba\u2067\u200f b\n") == "acba b\n"


def test_the_probe_row_says_how_many_hold(start: Session) -> None:
    query = Query(start.picture, EVIL)
    rows = [
        Outcome("picture", "as edited", query, "banana", "banana", True),
        Outcome("rewording", "reworded", query, "banana", "banana", True),
        Outcome("rewording", "reworded", query, "banana", "fox", False),
        Outcome("same question", EVIL, query, "fox", "banana", False),
    ]
    html = probe_html([("Edit 1", rows)], 1)
    assert re.findall(r'<li class="(\w+)".*?</span> (.*?)</b> (\w+)<span>(.*?)</span>', html) == [
        ("all", "1 of 1", "held", "On the picture"),
        ("some", "1 of 2", "held", "Reworded"),
        ("none", "0 of 1", "unchanged", "Other pictures"),
    ]
    assert "<img src=x" not in html and "{{" not in html
    assert "How Edit 1 holds" in html and "Edit 1, as edited" not in html
    several = probe_html([("Edit 1", rows), ("Edit 2", rows)], 7)
    assert "How 2 of 7 new edits hold" in several and "Edit 2, as edited" in several
    assert "2 of 4</b> held" in several
    assert not probe_html([], 0)


def test_small_words() -> None:
    assert number(-0.001) == "0.00"
    assert number(-0.25) == "−0.25"
    assert [percent(p).replace("\N{NO-BREAK SPACE}", " ") for p in (0, 1e-5, 0.5, 0.9999, 1)] == [
        "0.0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100.0 %"]  # fmt: skip
    assert distance(-0.004) == "0.004"
    assert sentence("the question is empty: type one") == "The question is empty: type one."
    assert sentence("a.png is damaged") == "a.png is damaged."
    assert sentence("")
    assert shorten("one two  three", 9) == "one two…"
