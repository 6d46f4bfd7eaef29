"""What is explained: the targets' values against the editor's own routing and answers, and that pixels matter to all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from liveedit.attribution import TARGETS, Instance, expert_instances, nearest_experts, question_instance
from liveedit.attribution.masking import MaskedPicture, mean_colour
from liveedit.attribution.targets import score_of
from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Query


def masked(editor: LiveEdit, instance: Instance) -> MaskedPicture:
    return MaskedPicture(editor.backbone, instance.image, mean_colour(instance.image))


def said(editor: LiveEdit, repository: ExpertRepository | None, instance: Instance) -> tuple[Answer, float]:
    """A greedy answer, and the log-probability of its tokens as generation itself saw them."""
    steps: list[torch.Tensor] = []
    handle = editor.backbone.model.register_forward_hook(lambda _m, _i, output: steps.append(output.logits[0, -1]))
    try:
        answer = editor.answer(repository, Query(instance.image, instance.prompt), max_new_tokens=5)
    finally:
        handle.remove()
    spoken = zip(steps, answer.tokens, strict=False)
    return answer, sum(float(logits.float().log_softmax(-1)[token]) for logits, token in spoken)


@pytest.mark.parametrize("target", TARGETS)
def test_masking_the_picture_changes_every_target(target: str, open_editor: LiveEdit, instance: Instance) -> None:
    # A target that ignores pixel values, as one that reuses cached outputs does, would explain nothing.
    score, picture = score_of(open_editor, instance, TARGETS[target]), masked(open_editor, instance)
    half = torch.ones(1, 2, 2)
    half[:, :, 0] = 0
    with torch.no_grad():
        whole, part, gone = (float(score(p)[0]) for p in (picture.clean, picture.under(half), picture.removed))
    assert len({round(whole, 6), round(part, 6), round(gone, 6)}) == 3


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_of_masks_gives_what_each_gives_alone(target: str, open_editor: LiveEdit, instance: Instance) -> None:
    score, picture = score_of(open_editor, instance, TARGETS[target]), masked(open_editor, instance)
    masks = (torch.arange(3 * 16).view(3, 4, 4) % 5 > 0).float()
    with torch.no_grad():
        together = score(picture.under(masks))
        alone = torch.cat([score(picture.under(mask[None])) for mask in masks])
    assert torch.allclose(together, alone, atol=1e-3)


def test_the_feature_s_value_is_one_and_the_margin_s_is_the_trace_s(
    open_editor: LiveEdit, instance: Instance, open_repository: ExpertRepository
) -> None:
    picture = masked(open_editor, instance)
    (trace,) = open_editor.route(open_repository, [Query(instance.image, instance.prompt)])
    for row in trace.experts:
        score = score_of(open_editor, replace(instance, expert_id=row.expert_id), TARGETS["margin"])
        assert float(score(picture.clean)[0]) == pytest.approx(row.margin, abs=1e-3)
    for side in ("query", "edit"):
        score = score_of(open_editor, replace(instance, side=side), TARGETS["feature"])
        assert float(score(picture.clean)[0]) == pytest.approx(1.0, abs=1e-5)


def test_answers_have_the_probabilities_that_generation_gave_them(
    open_editor: LiveEdit, instance: Instance, open_repository: ExpertRepository
) -> None:
    picture = masked(open_editor, instance)
    base, base_value = said(open_editor, None, instance)
    edited, edited_value = said(open_editor, open_repository, instance)
    assert base.tokens != edited.tokens
    given = replace(instance, base=base.tokens, edited=edited.tokens)
    expected = {"base": base_value, "edited": edited_value, "difference": edited_value - base_value}
    for target, value in expected.items():
        score = score_of(open_editor, given, TARGETS[target])
        assert float(score(picture.clean)[0]) == pytest.approx(value, abs=1e-3)


def test_missing_answers_are_asked_for(
    open_editor: LiveEdit, instance: Instance, open_repository: ExpertRepository
) -> None:
    picture, query = masked(open_editor, instance), Query(instance.image, instance.prompt)
    known = replace(
        instance,
        base=open_editor.answer(None, query).tokens,
        edited=open_editor.answer(open_repository, query).tokens,
    )
    values = [float(score_of(open_editor, i, TARGETS["difference"])(picture.clean)[0]) for i in (instance, known)]
    assert values[0] == values[1]


def test_nearest_experts_are_those_of_the_largest_margin_that_are_on(
    open_editor: LiveEdit, instance: Instance, open_repository: ExpertRepository
) -> None:
    query = Query(instance.image, instance.prompt)
    (trace,) = open_editor.route(open_repository, [query])
    order = sorted(trace.experts, key=lambda row: row.margin, reverse=True)
    assert [row.expert_id for row in nearest_experts(trace)] == [row.expert_id for row in order[:3]]
    open_repository.set_active(order[0].expert_id, False)
    (trace,) = open_editor.route(open_repository, [query])
    assert [row.expert_id for row in nearest_experts(trace, 2)] == [row.expert_id for row in order[1:3]]


def test_which_picture_speaks_of_an_expert(instance: Instance, open_repository: ExpertRepository) -> None:
    query, first = Query(instance.image, instance.prompt), open_repository.experts[0]
    feature = expert_instances(query, "feature", open_repository, [first.id])[first.id]
    assert (feature.image, feature.prompt, feature.side) == (first.edit.image, first.edit.prompt, "edit")
    margin = expert_instances(query, "margin", open_repository, [first.id])[first.id]
    assert (margin.image, margin.prompt, margin.expert_id) == (query.image, query.prompt, first.id)
    edited = expert_instances(query, "edited", open_repository, [first.id])[first.id]
    assert (edited.image, edited.prompt, edited.side) == (first.edit.image, first.edit.prompt, "query")
    assert question_instance(query, "margin", open_repository) is None
    assert question_instance(Query(None, "What?"), "feature", open_repository) is None
    own = question_instance(query, "base", open_repository, Answer("cat", (5,)), Answer("dog", (7,)))
    assert own is not None
    assert (own.image, own.base, own.edited) == (query.image, (5,), (7,))
