"""What must hold of the editor: the unedited model untouched, the KV cache exact, no hooks left, order irrelevant."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image
from torch import nn

from liveedit.backbones import Backbone
from liveedit.editors import LiveEdit
from liveedit.editors.liveedit.editor import ALL_OFF, NO_EDITS, NO_IMAGE
from liveedit.experts import ExpertRepository, RoutingStrategy
from liveedit.types import Edit, EditorError, InputError, Query, RoutingTrace

QUESTION = "What is in the picture?"
NEW = 6


def hook_ids(model: nn.Module) -> list[int]:
    """Ids of every hook of every kind on every module."""
    found: list[int] = []
    for module in model.modules():
        for kind in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            found += list(kind)
    return found


def logits_during(backbone: Backbone, call: Callable[[], object]) -> list[torch.Tensor]:
    """The logits of every forward of the model while ``call`` runs, seen by a foreign hook."""
    seen: list[torch.Tensor] = []
    handle = backbone.model.register_forward_hook(lambda _m, _i, output: seen.append(output.logits.clone()))
    try:
        call()
    finally:
        handle.remove()
    return seen


def plain_generate(backbone: Backbone, query: Query) -> list[torch.Tensor]:
    """Logits of each step of transformers' own generation on the processor's own inputs."""
    content: list[dict[str, str]] = [{"type": "image"}] if query.image is not None else []
    content.append({"type": "text", "text": query.prompt})
    text = backbone.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = backbone.processor(images=query.image, text=text, return_tensors="pt")
    return logits_during(
        backbone, lambda: backbone.model.generate(**inputs, do_sample=False, max_new_tokens=NEW, use_cache=True)
    )


@pytest.mark.parametrize("state", ["no repository", "empty", "all off", "no image"])
def test_without_active_edits_or_image_the_logits_are_the_unedited_model_s_to_the_bit(
    state: str, open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    repository: ExpertRepository | None = open_repository
    image: Image | None = pictures[7]
    if state == "no repository":
        repository = None
    elif state == "empty":
        repository = ExpertRepository.empty(open_editor.config)
    elif state == "all off":
        for expert in open_repository:
            open_repository.set_active(expert.id, False)
    else:
        image = None
    query = Query(image, QUESTION)
    wanted = plain_generate(open_editor.backbone, query)
    answers: list[Any] = []
    got = logits_during(
        open_editor.backbone, lambda: answers.append(open_editor.answer(repository, query, max_new_tokens=NEW))
    )
    assert len(got) == len(wanted) > 0
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    reason = {"all off": ALL_OFF, "no image": NO_IMAGE}.get(state, NO_EDITS)
    assert answers[0].trace == RoutingTrace(reason=reason)


def test_active_edits_do_change_the_logits(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    query = Query(pictures[7], QUESTION)
    plain = plain_generate(open_editor.backbone, query)
    edited = logits_during(open_editor.backbone, lambda: open_editor.answer(open_repository, query, max_new_tokens=NEW))
    assert not torch.allclose(plain[0], edited[0], atol=1e-2)


def full_recompute(
    editor: LiveEdit, repository: ExpertRepository | None, query: Query, trace: RoutingTrace, count: int
) -> list[int]:
    """Greedy tokens without any cache: the whole row again for each token, one row, no padding.

    The residual is written out expert by expert (Eq. 6) from the weights in the trace.
    """
    backbone, norm = editor.backbone, editor.modules.residual_norm
    weights = {row.expert_id: row.weight for row in trace.experts if row.passed}

    def change(_module: nn.Module, _inputs: object, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        total = hidden.clone()
        for expert in repository or ():
            if expert.id in weights:
                total += weights[expert.id] * (torch.relu(norm(hidden) @ expert.U.T) @ expert.V)
        return (total, *output[1:]) if isinstance(output, tuple) else total

    text = backbone.prompt_text(query.prompt, query.image is not None, True)
    inputs = backbone.processor(images=query.image, text=text, return_tensors="pt")
    ids, tokens = inputs["input_ids"], list[int]()
    handle = backbone.layers[editor.config.layer].register_forward_hook(change)
    try:
        for _ in range(count):
            rest = {"pixel_values": inputs["pixel_values"]} if query.image is not None else {}
            with torch.no_grad():
                logits = backbone.model(input_ids=ids, use_cache=False, **rest).logits
            token = int(logits[0, -1].argmax())
            if token == backbone.eos_id:
                break
            tokens.append(token)
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    finally:
        handle.remove()
    return tokens


def mixed_queries(pictures: list[Image]) -> list[Query]:
    """Questions of different length, with and without a picture."""
    return [
        Query(pictures[0], "What is it?"),
        Query(pictures[6], "Which animal can be seen in the left half of this colourful picture, if any?"),
        Query(None, "What is the capital of France?"),
        Query(pictures[7], "How many?"),
        Query(pictures[3], "Where is the dog?"),
    ]


@pytest.mark.parametrize("edited", [False, True])
def test_cached_generation_equals_full_recomputation_batched_and_one_by_one(
    edited: bool, open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    queries = mixed_queries(pictures)
    repository = open_repository if edited else None
    batched = open_editor.answer(repository, queries, max_new_tokens=12)
    single = [open_editor.answer(repository, q, max_new_tokens=12) for q in queries]
    small = open_editor.answer(repository, queries, max_new_tokens=12, batch_size=2)
    for query, a, b, c in zip(queries, batched, single, small, strict=True):
        wanted = full_recompute(open_editor, repository, query, b.trace, 12)
        assert list(a.tokens) == list(b.tokens) == list(c.tokens) == wanted
    assert len({a.tokens for a in batched}) >= 4, "the rows must say different things for this test to mean anything"
    if edited:
        assert all(a.trace.passed for a, q in zip(batched, queries, strict=True) if q.image is not None)


def test_teacher_forced_prediction_agrees_with_generation(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    query = Query(pictures[2], QUESTION)
    answer = open_editor.answer(open_repository, query, max_new_tokens=8)
    target = open_editor.backbone.tokenizer.decode(list(answer.tokens))
    (found,) = open_editor.predict(open_repository, [query], [target])
    assert found.target == tuple(open_editor.backbone.answer_ids(target))
    assert len(found.predicted) == len(found.target)
    assert found.predicted[0] == answer.tokens[0]
    (other,) = open_editor.predict(open_repository, [query], ["something else altogether"])
    assert other.predicted[0] == answer.tokens[0], "the first prediction must not know the target"


@pytest.mark.parametrize("call", ["answer", "predict", "edit", "states", "route"])
@pytest.mark.parametrize("fails", [False, True])
def test_no_hook_remains_and_foreign_hooks_stay(
    call: str,
    fails: bool,
    open_editor: LiveEdit,
    open_repository: ExpertRepository,
    some_edits: list[Edit],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, query = open_editor.backbone.model, Query(some_edits[0].image, QUESTION)
    calls: dict[str, Callable[[], object]] = {
        "answer": lambda: open_editor.answer(open_repository, query, max_new_tokens=2),
        "predict": lambda: open_editor.predict(open_repository, [query], ["cat"]),
        "edit": lambda: open_editor.edit(open_repository, some_edits[:1]),
        "states": lambda: open_editor.layer_states([some_edits[0].image], [QUESTION]),
        "route": lambda: open_editor.route(open_repository, [query]),
    }
    foreign = [layer.register_forward_hook(lambda *_: None) for layer in open_editor.backbone.layers]
    before = hook_ids(model)
    try:
        if fails:
            # A layer that breaks in the middle of the pass, below or above the edited one.
            where = 2 if call in ("answer", "predict") else 0
            monkeypatch.setattr(open_editor.backbone.layers[where].mlp, "forward", _break)
            with pytest.raises(RuntimeError, match="broken"):
                calls[call]()
        else:
            calls[call]()
        assert hook_ids(model) == before
        assert all(handle.id in before for handle in foreign)
    finally:
        for handle in foreign:
            handle.remove()


def test_people_who_ask_and_edit_at_once_never_meet_each_others_edits(
    open_editor: LiveEdit, some_edits: list[Edit], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(edit: Edit) -> list[Any]:
        """What a person sees of one edit: the unedited answer, the edited one, and how the question was routed."""
        repository, query = open_editor.empty(), Query(edit.image, edit.prompt)
        open_editor.edit(repository, [edit])
        answers = open_editor.answer([None, repository], [query, query], max_new_tokens=NEW)
        *_, said = open_editor.stream(repository, query, max_new_tokens=NEW)
        return [*(a.tokens for a in answers), said.answer.tokens, len(answers[1].trace.experts)]

    edits = some_edits[:4] * 2
    alone = [work(edit) for edit in edits]
    assert all(base != edited for base, edited, *_ in alone)
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-5)
        with ThreadPoolExecutor(4) as pool:
            at_once = list(pool.map(work, edits))
    finally:
        sys.setswitchinterval(interval)
    assert at_once == alone


def test_a_change_that_stands_open_is_met_by_its_own_thread_alone(
    open_editor: LiveEdit, open_repository: ExpertRepository, some_edits: list[Edit]
) -> None:
    query = Query(some_edits[0].image, some_edits[0].prompt)
    base, edited = open_editor.answer([None, open_repository], [query, query], max_new_tokens=NEW)
    assert base.tokens != edited.tokens
    batch = open_editor.backbone.encode([query.image], [query.prompt])
    with ThreadPoolExecutor(1) as other, open_editor.edited(batch, open_repository):
        meanwhile = other.submit(open_editor.answer, None, query, max_new_tokens=NEW).result()
    assert meanwhile == base


def test_no_two_threads_run_the_model_at_once(open_editor: LiveEdit, some_edits: list[Edit]) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter(*_: object) -> None:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)

    model = open_editor.backbone.model
    handles = [model.register_forward_pre_hook(enter), model.register_forward_hook(lambda *_: inside.clear())]
    queries = [Query(edit.image, edit.prompt) for edit in some_edits[:3]]
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda query: open_editor.answer(None, query, max_new_tokens=2), queries))
    finally:
        for handle in handles:
            handle.remove()
    assert set(most) == {1}


def _break(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("broken")


def by_target(repository: ExpertRepository, name: str) -> dict[str, torch.Tensor]:
    return {expert.edit.target: getattr(expert, name) for expert in repository}


@pytest.mark.parametrize("name", ["U", "V", "phi", "psi"])
def test_order_and_batch_size_of_editing_change_nothing(
    name: str, open_editor: LiveEdit, open_repository: ExpertRepository, some_edits: list[Edit]
) -> None:
    backwards, singly = (ExpertRepository.empty(open_editor.config) for _ in range(2))
    open_editor.edit(backwards, some_edits[::-1], batch_size=4)
    for edit in some_edits:
        open_editor.edit(singly, [edit], batch_size=1)
    wanted = by_target(open_repository, name)
    assert len(wanted) == len(some_edits)
    for other in (backwards, singly):
        for target, value in by_target(other, name).items():
            assert torch.allclose(value, wanted[target], atol=1e-4, rtol=1e-4), target
    values = list(wanted.values())
    assert not torch.allclose(values[0], values[1], atol=1e-2), "different edits must give different experts"


def test_order_of_edits_does_not_change_answers(
    open_editor: LiveEdit, open_repository: ExpertRepository, some_edits: list[Edit], pictures: list[Image]
) -> None:
    backwards = ExpertRepository.empty(open_editor.config)
    open_editor.edit(backwards, some_edits[::-1])
    queries = mixed_queries(pictures)
    one = open_editor.answer(open_repository, queries, max_new_tokens=8)
    two = open_editor.answer(backwards, queries, max_new_tokens=8)
    assert [a.tokens for a in one] == [a.tokens for a in two]


def test_two_people_on_one_model_never_see_each_other_s_edits(
    open_editor: LiveEdit, some_edits: list[Edit], pictures: list[Image]
) -> None:
    mine, yours = (ExpertRepository.empty(open_editor.config) for _ in range(2))
    open_editor.edit(mine, some_edits[:3])
    for expert_id in open_editor.edit(yours, some_edits[3:]):
        # Random experts push all alike; a stronger weight makes the two people's answers differ.
        yours.set_scale(expert_id, -3.0)
    query = Query(pictures[7], QUESTION)
    alone = [open_editor.answer(r, query, max_new_tokens=8) for r in (mine, yours, None)]
    together = open_editor.answer([mine, yours, None], [query] * 3, max_new_tokens=8)
    assert [a.tokens for a in together] == [a.tokens for a in alone]
    assert len({a.tokens for a in alone}) == 3, "the three must differ for this test to mean anything"
    for answer, repository in zip(together, (mine, yours), strict=False):
        assert [row.expert_id for row in answer.trace.experts] == [expert.id for expert in repository]
    assert together[2].trace.experts == ()


def test_a_refused_edit_leaves_the_repository_as_it_was(
    open_editor: LiveEdit, open_repository: ExpertRepository, some_edits: list[Edit]
) -> None:
    before = [expert.id for expert in open_repository]
    image = some_edits[0].image
    for bad in (
        Edit(image, "", "cat"), Edit(image, "  ", "cat"), Edit(image, "What?", " "),
        Edit(image, "What?", "zq " * 40), Edit(image, "why " * 400, "cat"),
    ):  # fmt: skip
        with pytest.raises(InputError):
            open_editor.edit(open_repository, [some_edits[0], bad])
    with pytest.raises(InputError, match="marker"):
        open_editor.answer(open_repository, Query(image, "What is <image> there?"))
    assert [expert.id for expert in open_repository] == before


def test_one_repository_per_question_is_required(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    with pytest.raises(EditorError, match="give one"):
        open_editor.answer([open_repository], [Query(pictures[0], "a"), Query(pictures[1], "b")])


def test_routing_again_from_features_equals_routing_while_answering(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    query = Query(pictures[1], QUESTION)
    features = open_editor.query_features([query])[0]
    again = open_editor.route_features(open_repository, features)
    during = open_editor.answer(open_repository, query, max_new_tokens=1).trace
    for a, b in zip(again.experts, during.experts, strict=True):
        assert (a.expert_id, a.passed) == (b.expert_id, b.passed)
        assert a.weight == pytest.approx(b.weight, abs=1e-4)
        assert a.margin == pytest.approx(a.visual_similarity - a.threshold)
    lowered = open_editor.route_features(open_repository, features, margin_shift=-1e6)
    assert not lowered.passed
    assert lowered.margin_shift == -1e6


def test_every_expert_acts_when_neither_sentinel_nor_number_limits_them(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    editor = open_editor.with_routing(RoutingStrategy(sentinel=False))
    queries = [Query(picture, QUESTION) for picture in pictures[5:]]
    open_repository.set_active(open_repository.experts[2].id, False)
    answers = editor.answer(open_repository, queries, max_new_tokens=NEW)
    for query, answer in zip(queries, answers, strict=True):
        weights = {row.expert_id: row.weight for row in answer.trace.experts}
        assert len(answer.trace.passed) == 5
        assert weights[open_repository.experts[2].id] == 0.0
        assert list(answer.tokens) == full_recompute(editor, open_repository, query, answer.trace, NEW)
    # Rows with repositories of their own are fused one by one and say the same.
    other = ExpertRepository(open_editor.config, open_repository.experts[:3])
    mixed = editor.answer([open_repository, other, open_repository], queries, max_new_tokens=NEW)
    assert [mixed[i].tokens for i in (0, 2)] == [answers[i].tokens for i in (0, 2)]
    assert list(mixed[1].tokens) == full_recompute(editor, other, queries[1], mixed[1].trace, NEW)


def test_strategies_share_the_trained_modules_and_have_names_of_their_own(
    open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image], some_edits: list[Edit]
) -> None:
    averaged = open_editor.with_routing(RoutingStrategy(soft=False))
    whole = open_editor.with_routing(RoutingStrategy(whole_picture=True))
    assert averaged.modules is whole.modules is open_editor.modules
    names = {editor.fingerprint for editor in (open_editor, averaged, whole)}
    assert len(names) == 3
    assert open_editor.with_routing(RoutingStrategy()).fingerprint == open_editor.fingerprint
    (trace,) = averaged.route(open_repository, [Query(pictures[7], QUESTION)])
    assert [row.weight for row in trace.experts] == pytest.approx([1 / 6] * 6)
    # A whole picture's feature does not depend on the question; what the prompt asks to look at does.
    for editor, same in ((whole, True), (open_editor, False)):
        one, two = editor.query_features([Query(pictures[7], QUESTION), Query(pictures[7], "How many?")])
        assert torch.allclose(one.visual, two.visual, atol=1e-5) == same
        assert torch.allclose(one.threshold, two.threshold, atol=1e-5) == same
    repository = whole.empty()
    whole.edit(repository, some_edits[:2])
    assert torch.allclose(repository.experts[0].phi[0], repository.experts[0].phi[1])


def test_states_are_made_saved_and_read_by_the_editor(
    open_editor: LiveEdit, open_repository: ExpertRepository, tmp_path: Path
) -> None:
    assert len(open_editor.empty()) == 0
    open_repository.save(tmp_path / "state")
    again = open_editor.load_state(tmp_path / "state")
    assert [e.id for e in again] == [e.id for e in open_repository]
