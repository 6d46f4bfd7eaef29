"""Streamed answers and the comparison of both models, against plain answers and full recomputation."""

from __future__ import annotations

import pytest
import torch
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.editors.comparison import Comparison, ask_both, compare, stream_both
from liveedit.editors.streaming import Said, spell
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, InputError, Query

NEW = 6


@pytest.mark.parametrize("state", ["none", "edited", "all off", "no image"])
def test_a_streamed_answer_is_the_answer(
    state: str, open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    repository = None if state == "none" else open_repository
    query = Query(None if state == "no image" else pictures[2], "What can be seen here?")
    if state == "all off":
        for expert in list(open_repository):
            open_repository.set_active(expert.id, False)
    plain = open_editor.answer(repository, query, max_new_tokens=NEW)
    steps = list(open_editor.stream(repository, query, max_new_tokens=NEW))
    last = steps[-1]
    assert last.answer == plain
    assert len(steps) == len(plain.tokens) > 0
    assert [step.answer.tokens for step in steps] == [plain.tokens[: i + 1] for i in range(len(steps))]
    assert "".join(last.pieces) == plain.text
    # Full recomputation gives what was said with the cache the same probabilities.
    again = open_editor.probabilities(repository, query, plain.tokens)
    assert again == pytest.approx(last.probabilities, abs=1e-4)
    assert all(0 < p <= 1 for p in again)


def test_nothing_is_on_the_model_between_two_tokens(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    query = Query(pictures[1], "What is it?")
    base = open_editor.answer(None, query, max_new_tokens=NEW)
    edited = open_editor.answer(open_repository, query, max_new_tokens=NEW)
    assert base.tokens != edited.tokens
    hooks = dict(open_editor.layer._forward_hooks)
    stream = open_editor.stream(open_repository, query, max_new_tokens=NEW)
    next(stream)
    assert dict(open_editor.layer._forward_hooks) == hooks
    assert open_editor.answer(None, query, max_new_tokens=NEW) == base
    *_, last = stream
    assert last.answer == edited


def test_an_empty_question_is_refused(open_editor: LiveEdit) -> None:
    with pytest.raises(InputError, match="question is empty"):
        list(open_editor.stream(None, Query(None, " ")))


def test_both_models_side_by_side(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    query = Query(pictures[0], "What is it?")
    steps = list(stream_both(open_editor, open_repository, query, max_new_tokens=NEW))
    base, edited = steps[-1]
    assert base is not None and edited is not None
    assert base.answer == open_editor.answer(None, query, max_new_tokens=NEW)
    assert edited.answer == open_editor.answer(open_repository, query, max_new_tokens=NEW)
    assert len(steps) == max(len(base.pieces), len(edited.pieces))

    compared = compare(open_editor, open_repository, query, base, edited)
    before = _by_hand(open_editor, query, edited.answer.tokens)
    assert compared.edited_before == pytest.approx(before, abs=1e-5)
    for token, old, new in zip(compared.edited_tokens, before, edited.probabilities, strict=True):
        assert (token.before, token.after) == pytest.approx((old, new), abs=1e-5)
    assert [t.before for t in compared.base_tokens] == list(base.probabilities)
    assert any(abs(t.before - t.after) > 1e-3 for t in compared.edited_tokens)
    known = ask_both(open_editor, open_repository, query, base, max_new_tokens=NEW)
    assert known.base is base
    assert known.edited.answer == edited.answer


def test_without_edits_both_probabilities_are_one(open_editor: LiveEdit, pictures: list[Image]) -> None:
    compared = ask_both(open_editor, open_editor.empty(), Query(pictures[0], "What is it?"), max_new_tokens=NEW)
    assert compared.base_tokens == compared.edited_tokens
    assert all(t.before == t.after and not t.changed for t in compared.base_tokens)


def test_changed_tokens_are_those_the_other_answer_lacks() -> None:
    def said(tokens: tuple[int, ...]) -> Said:
        return Said(Answer("", tokens), tuple("abcd"[: len(tokens)]), (0.5,) * len(tokens))

    compared = Comparison(said((5, 6, 7)), said((5, 8, 7, 9)), (0.1,) * 3, (0.2,) * 4)
    assert [t.changed for t in compared.base_tokens] == [False, True, False]
    assert [t.changed for t in compared.edited_tokens] == [False, True, False, True]


def test_pieces_wait_for_whole_characters(open_editor: LiveEdit) -> None:
    backbone = open_editor.backbone
    for text in ("a fox", "naïve 狐 🦊!", ""):
        tokens = backbone.answer_ids(text) if text else []
        whole, pieces = spell(backbone, tokens)
        assert whole == text
        assert len(pieces) == len(tokens)
        assert "".join(pieces) == text
        assert "�" not in "".join(pieces)


def _by_hand(editor: LiveEdit, query: Query, tokens: tuple[int, ...]) -> list[float]:
    """The unedited model's probability of each token, one prefix at a time."""
    found = []
    for i, token in enumerate(tokens):
        batch = editor.backbone.encode([query.image], [query.prompt], [tokens[:i]])
        with torch.no_grad():
            logits = editor.backbone.model(**batch.model_inputs()).logits[0, -1]
        found.append(float(logits.softmax(-1)[token]))
    return found
