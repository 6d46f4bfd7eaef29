"""RECIPE, LTE and SERAC: what stands before a question, who reads it, and what it is found by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from PIL import Image

from liveedit.backbones import Backbone
from liveedit.configs import TRAINED
from liveedit.configs.serac import SeracConfig
from liveedit.editors import Unedited
from liveedit.editors.context import PrefixedPass, SoftPass, insert, place, read_texts
from liveedit.editors.lte import Lte
from liveedit.editors.memory import MemoryEditor
from liveedit.editors.serac import Serac
from liveedit.editors.tuned import changed_language_model
from liveedit.types import Edit, EditorError, Query, RoutingTrace

Make = Callable[[str], MemoryEditor]


def test_tokens_are_inserted_behind_the_picture(lively_backbone: Backbone, pictures: list[Image.Image]) -> None:
    answers = [[7, 8], [9]]
    plain = lively_backbone.encode(pictures[:2], ["What is it?", "How many things are there?"], answers)
    made = insert(lively_backbone, plain, [[11, 12, 13], [14]])
    for row, prefix in enumerate(([11, 12, 13], [14])):
        vision = made.spans[row].vision
        assert vision == plain.spans[row].vision, "the picture keeps its places"
        ids = made.input_ids[row, made.offsets[row] :].tolist()
        assert ids[vision[1] : vision[1] + len(prefix)] == prefix
        prompt, answer = read_texts(made)[row]
        assert (prompt, answer) == ([*prefix, *read_texts(plain)[row][0]], answers[row])
    text = insert(lively_backbone, lively_backbone.encode([None], ["What is it?"]), [[11, 12]])
    assert text.input_ids[0, :2].tolist() == [11, 12]
    # A model whose texts begin with a token of their own keeps it in front.
    begun = lively_backbone.collate([[1, 5, 6]], [[]], None)
    lively_backbone.tokenizer.bos_token_id = 1
    try:
        assert insert(lively_backbone, begun, [[11]]).input_ids[0].tolist() == [1, 11, 5, 6]
    finally:
        lively_backbone.tokenizer.bos_token_id = None


def test_a_continuous_prompt_of_embeddings_is_the_same_as_its_tokens(
    lively_backbone: Backbone, pictures: list[Image.Image]
) -> None:
    queries = [Query(pictures[0], "What is it?"), Query(pictures[1], "How many things are there?")]
    ids = torch.tensor([[20, 21, 22], [23, 24, 25]])
    traces = [RoutingTrace()] * 2
    soft = SoftPass([0, 1], lively_backbone, queries, traces, lively_backbone.embed(ids))
    hard = PrefixedPass([0, 1], lively_backbone, queries, traces, ids.tolist())
    wanted = lively_backbone.model(**hard.encode([[5], [6]], True).model_inputs()).logits
    batch = soft.encode([[5], [6]], True)
    with soft.acting(batch):
        got = lively_backbone.model(**batch.model_inputs()).logits
    assert torch.equal(got, wanted)
    assert not torch.equal(lively_backbone.model(**batch.model_inputs()).logits, wanted)


def test_vectors_are_placed_where_words_begin() -> None:
    embedded = torch.zeros(2, 4, 1)
    got = place(embedded, [0, 2], torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]))
    assert got[..., 0].tolist() == [[1, 2, 0, 0], [0, 0, 3, 4]]
    assert not embedded.any()


@pytest.mark.parametrize("name", ["recipe", "retrieval"])
def test_an_edit_is_represented_with_its_picture(
    name: str, memory_editor: Make, pictures: list[Image.Image]
) -> None:
    editor = memory_editor(name)
    state = editor.empty()
    editor.edit(state, [Edit(picture, "What is it?", "teapot") for picture in pictures[:2]])
    for tensor in state.tensors.values():
        assert not torch.allclose(tensor[0], tensor[1], atol=1e-3)
    similarity, _ = editor.compare(state, [Query(picture, "What is it?") for picture in pictures[:2]], True)
    assert similarity.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["lte", "serac"])
def test_editors_that_read_text_see_no_picture(
    name: str, memory_editor: Make, pictures: list[Image.Image]
) -> None:
    editor = memory_editor(name)
    state = editor.empty()
    editor.edit(state, [Edit(pictures[0], "What is it?", "teapot"), Edit(pictures[1], "How many?", "seven")])
    near = [editor.compare(state, [Query(picture, "What is it?")], True)[0] for picture in (pictures[0], pictures[5])]
    assert torch.allclose(near[0], near[1], atol=1e-4)
    assert near[0].argmax() == 0
    text, _ = editor.compare(state, [Query(None, "What is it?")], True)
    assert torch.allclose(near[0], text, atol=1e-4)


def test_recipes_prompt_begins_as_the_answer_and_its_keys_hold_none(
    memory_editor: Make, pictures: list[Image.Image]
) -> None:
    editor, states = memory_editor("recipe"), []
    for target in ("teapot", "an old violin"):
        states.append(editor.empty())
        editor.edit(states[-1], [Edit(pictures[0], "What is it?", target)])
    assert torch.allclose(states[0].tensors["keys"], states[1].tensors["keys"], atol=1e-5)
    first = editor.backbone.embed(torch.tensor(editor.backbone.answer_ids("an old violin")[:3]))
    made = states[1].tensors["soft"][0, : len(first)]
    assert torch.nn.functional.cosine_similarity(made, first, dim=-1).min() > 0.9


def test_an_unchanged_language_model_says_the_same_bit_for_bit(
    lively_backbone: Backbone, pictures: list[Image.Image]
) -> None:
    batch = lively_backbone.encode(pictures[:2], ["What is it?", "How many?"])
    wanted = lively_backbone.model(**batch.model_inputs()).logits
    for rank in (0, 3):
        tuned, changes = changed_language_model(lively_backbone, rank)
        assert torch.equal(tuned.model(**batch.model_inputs()).logits, wanted)
        for change in changes.parameters():
            torch.nn.init.normal_(change, std=0.1)
        assert not torch.allclose(tuned.model(**batch.model_inputs()).logits, wanted, atol=1e-3)
        assert torch.equal(lively_backbone.model(**batch.model_inputs()).logits, wanted)


def test_lte_puts_the_edit_between_its_markers(memory_editor: Make, pictures: list[Image.Image]) -> None:
    editor = memory_editor("lte")
    state = editor.empty()
    editor.edit(state, [Edit(pictures[0], "What is it?", "teapot")])
    text = editor.backbone.tokenizer.decode(state.notes[0]["prefix"])
    assert text == "[Updated Information]What is it? The answer is: teapot [Query]"


def test_lte_as_published_answers_everything_behind_its_nearest_edits(
    memory_editor: Make, lively_backbone: Backbone, pictures: list[Image.Image]
) -> None:
    assert (TRAINED["lte"].presets["paper"][0].retrieved, TRAINED["lte"].presets["paper"][0].threshold) == (3, False)
    bounded = memory_editor("lte")
    config = replace(bounded.config, retrieved=2, threshold=False)  # type: ignore[attr-defined]
    editor = Lte(lively_backbone, config, (bounded.tuned, bounded.modules))  # type: ignore[attr-defined]
    editor.modules.retriever.limit.fill_(1e3)
    state = editor.empty()
    prompts = ("What is it?", "How many can be seen in this picture?", "Which animal is it?")
    editor.edit(state, [Edit(pictures[0], prompt, f"tea {i}") for i, prompt in enumerate(prompts)])
    queries = [Query(pictures[1], prompts[1]), Query(pictures[1], "Why?")]
    similarity, _ = editor.compare(state, queries, True)
    (part,) = editor.passes(state, queries, True)
    # None is nearer than what the retriever has learned as its threshold, which the other editor heeds.
    assert [p.backbone is lively_backbone for p in bounded.passes(state, queries, True)] == [True]
    assert part.backbone is editor.tuned
    texts = lively_backbone.tokenizer.batch_decode(part.encode(None, True).input_ids)
    for text, row, trace in zip(texts, similarity, part.traces, strict=True):
        near = row.topk(2).indices.tolist()
        facts = "\n".join(f"{prompts[i]} The answer is: tea {i}" for i in near)
        assert f"[Updated Information]{facts} [Query]" in text
        assert {e.expert_id for e in trace.passed} == {str(i + 1) for i in near}
    assert similarity[0].argmax() == 1
    assert editor.fingerprint != bounded.fingerprint
    # Without edits nothing is retrieved, and the original model answers as if it were alone.
    none = editor.passes(editor.empty(), queries, True)
    assert [p.backbone is lively_backbone for p in none] == [True]
    assert editor.answer(editor.empty(), queries) != editor.answer(state, queries)
    alone = Unedited(lively_backbone)
    said = [answer.text for answer in alone.answer(None, queries)]
    assert [answer.text for answer in editor.answer(editor.empty(), queries)] == said


def test_serac_asks_its_small_model_in_words_and_leaves_other_pictures_whole(
    memory_editor: Make, pictures: list[Image.Image]
) -> None:
    editor = memory_editor("serac")
    state = editor.empty()
    # The released code fails on the first edit and cuts image tokens off.
    assert editor.edit(state, [Edit(pictures[0], "What is it?", "teapot")]) == ["1"]
    queries = [Query(pictures[0], "What is it?"), Query(pictures[1], "How many?")]
    compare = editor.compare

    def first_only(*given: object) -> tuple[torch.Tensor, torch.Tensor]:
        similarity, _ = compare(*given)  # type: ignore[arg-type]
        return similarity, torch.tensor([-1e3, 1e3])

    editor.compare = first_only  # type: ignore[method-assign]
    outside, inside = editor.passes(state, queries, True)
    image = editor.backbone.image_token_id
    assert (list(outside.rows), list(inside.rows)) == ([1], [0])
    assert int((outside.encode(None, True).input_ids == image).sum()) == 64
    asked = inside.encode(None, True).input_ids[0]
    assert image not in asked.tolist()
    assert editor.backbone.tokenizer.decode(asked) == "What is it? The answer is: teapot\nWhat is it? The answer is:"


def test_seracs_small_model_may_begin_as_a_copy_of_the_language_model(
    lively_backbone: Backbone, pictures: list[Image.Image]
) -> None:
    copied = Serac(lively_backbone, SeracConfig(1, 32, len(lively_backbone.layers), 0, head_width=16))
    texts = lively_backbone.encode([None, None], ["What is it?", "How many things are there?"])
    wanted = lively_backbone.forward(texts, use_cache=False).logits
    assert torch.allclose(copied.counterfactual.forward(texts, use_cache=False).logits, wanted, atol=1e-4)
    state = copied.empty()
    copied.modules.scope.limit.fill_(-10.0)
    copied.edit(state, [Edit(pictures[0], "What is it?", "teapot")])
    said = copied.answer(state, Query(pictures[0], "What is it?"), max_new_tokens=4)
    asked = "What is it? The answer is: teapot\nWhat is it?"
    assert said.tokens == Unedited(lively_backbone).answer(None, Query(None, asked), max_new_tokens=4).tokens
    shallow = Serac(lively_backbone, SeracConfig(1, 32, 1, 0, head_width=16)).counterfactual
    assert len(shallow.layers) == 1
    kept = sum(p.numel() for p in shallow.model.parameters())
    assert kept < sum(p.numel() for p in lively_backbone.layers[0].parameters()) + 3 * 64, "embeddings and head stay shared"
    with pytest.raises(EditorError, match="answer_layers is 9"):
        Serac(lively_backbone, SeracConfig(1, 32, 9, 0, head_width=16))
