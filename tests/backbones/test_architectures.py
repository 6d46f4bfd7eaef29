"""Every architecture: what must hold of editing, of training on its split forward pass, and of its row layout."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, LAYERS, WIDTH, save
from PIL import Image
from torch import nn

from liveedit.backbones import Backbone, load_backbone
from liveedit.backbones.checkpoint import read_config, stored_fingerprint
from liveedit.backbones.checks import first_layer
from liveedit.backbones.parts import vision_tower
from liveedit.backbones.split import SplitForward
from liveedit.backbones.twin import exchanged
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.editors import LiveEdit
from liveedit.editors.footprint import footprint
from liveedit.editors.replay import replay
from liveedit.experts import ExpertRepository
from liveedit.experts.modules import LiveEditModules
from liveedit.hooks import replace_output
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import UNRELATED, Item, Shown, collate
from liveedit.training.layouts import RowLayout
from liveedit.training.state_cache import Shard, StateCache
from liveedit.types import Edit, EditorError, Query

NEW = 4


def blocks(seed: int, width: int, height: int) -> Image.Image:
    """A picture of coloured blocks."""
    cells = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.NEAREST)


# Of different sides and shapes, so that they take different numbers of tokens where a model cuts them up.
PICTURES = [blocks(0, 40, 40), blocks(1, 96, 32), blocks(2, 24, 70), blocks(3, 64, 64)]
EDITS = [
    Edit(PICTURES[0], "What is it?", "snow leopard"),
    Edit(PICTURES[1], "Which animal can be seen in this picture?", "teapot"),
    Edit(PICTURES[2], "How many?", "an old violin"),
]
QUERIES = [Query(PICTURES[i % 4], prompt) for i, prompt in enumerate(("What is it?", "How many things are there?", "Why?"))]
TEXT = Query(None, "What is the capital of Peru?")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone:
    return load_backbone(folder, "cpu")


@pytest.fixture(scope="module")
def editor(backbone: Backbone) -> LiveEdit:
    """Random weights under which every expert passes hard routing, and residuals strong enough to change answers."""
    torch.manual_seed(1)
    config = EditorConfig(
        hidden_size=WIDTH, layer=2, module_dim=16, rank=2, queries=2, heads=2, lora_scale=1.0, sentinel_tokens=5,
        backbone=backbone.fingerprint,
    )  # fmt: skip
    modules = LiveEditModules(config)
    with torch.no_grad():
        modules.query_features.read_vision.v_mlp.bias.fill_(2.0)
        modules.edit_features.read_vision.v_mlp.bias.fill_(4.0)
        modules.generator.v.attention.v_mlp.weight.mul_(40.0)
    return LiveEdit(backbone, config, modules)


@pytest.fixture(scope="module")
def repository(editor: LiveEdit) -> ExpertRepository:
    made = editor.empty()
    editor.edit(made, EDITS)
    return made


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def plain_inputs(backbone: Backbone, query: Query) -> dict[str, Any]:
    """A row as a user of transformers makes it, with the processor alone."""
    content: list[dict[str, str]] = [{"type": "image"}] * (query.image is not None)
    message = {"role": "user", "content": [*content, {"type": "text", "text": query.prompt}]}
    processor = backbone.processor
    text = processor.apply_chat_template([message], add_generation_prompt=True) if processor.chat_template else query.prompt
    if query.image is None:
        return dict(processor.tokenizer(text, return_tensors="pt", return_token_type_ids=False))
    return dict(processor(images=[query.image], text=[text], return_tensors="pt"))


def test_the_files_tell_the_fingerprint_before_they_are_loaded(folder: Path, backbone: Backbone) -> None:
    assert stored_fingerprint(folder, read_config(folder)) == backbone.fingerprint
    assert load_backbone(folder, "cpu", "bfloat16").fingerprint == backbone.fingerprint


@torch.no_grad()
def test_without_active_edits_logits_are_those_of_transformers(
    editor: LiveEdit, repository: ExpertRepository
) -> None:
    backbone, seen = editor.backbone, []
    handle = backbone.head.register_forward_hook(lambda _m, _i, output: seen.append(output[:, -1].clone()))
    try:
        for query in (*QUERIES, TEXT):
            # BLIP-2's class demands a picture; its language model is what answers without one.
            plain = query.image is None and not backbone.model.__class__.__name__.startswith("Blip2")
            model = backbone.model if plain or query.image is not None else backbone.model.language_model
            said = model.generate(**plain_inputs(backbone, query), do_sample=False, max_new_tokens=NEW, use_cache=True)
            wanted, seen[:] = list(seen), []
            for given in (None, editor.empty()):
                answer = editor.answer(given, query, max_new_tokens=NEW)
                assert answer.tokens == tuple(said[0, -len(wanted) :].tolist())[: len(answer.tokens)]
                assert len(seen) == len(wanted) and all(map(torch.equal, seen, wanted))
                seen.clear()
        # Switched off and without a picture: the text-only answer is the same with edits at hand.
        assert editor.answer(repository, TEXT, max_new_tokens=NEW).tokens == tuple(said[0, -NEW:].tolist())
        for expert in repository:
            repository.set_active(expert.id, False)
        seen.clear()
        editor.answer(repository, QUERIES[0], max_new_tokens=NEW)
        off_logits, seen[:] = list(seen), []
        editor.answer(None, QUERIES[0], max_new_tokens=NEW)
        assert all(map(torch.equal, seen, off_logits))
    finally:
        handle.remove()
        for expert in repository:
            repository.set_active(expert.id, True)


@pytest.mark.parametrize("template", [True, False])
def test_cached_generation_is_full_recomputation_in_a_batch_or_alone(
    editor: LiveEdit, repository: ExpertRepository, template: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in (repository, None):
        together = editor.answer([state] * 3, QUERIES, max_new_tokens=NEW, template=template)
        for query, answer in zip(QUERIES, together, strict=True):
            assert editor.answer(state, query, max_new_tokens=NEW, template=template).tokens == answer.tokens
            assert answer.tokens
            *_, streamed = editor.stream(state, query, max_new_tokens=NEW, template=template)
            assert streamed.answer.tokens == answer.tokens
            monkeypatch.setattr(editor.backbone, "answer_ids", lambda _target, _template, a=answer: list(a.tokens))
            (whole,) = editor.predict(state, [query], [""], template=template)
            assert whole.predicted == answer.tokens
    assert {a.tokens for a in together} != {a.tokens for a in editor.answer([repository] * 3, QUERIES, max_new_tokens=NEW)}


def test_no_hook_remains_after_success_or_error(editor: LiveEdit, repository: ExpertRepository) -> None:
    model = editor.backbone.model
    before = hooks_of(model)
    editor.answer(repository, QUERIES[0], max_new_tokens=2)
    editor.query_features(QUERIES)
    assert hooks_of(model) == before

    def fail(_hidden: torch.Tensor) -> torch.Tensor:
        raise ValueError("boom")

    for act in (
        lambda: editor.answer(repository, QUERIES[0], max_new_tokens=2),
        lambda: editor.edit(editor.empty(), EDITS),
    ):
        with replace_output(editor.backbone.layers[1], fail), pytest.raises(ValueError, match="boom"):
            act()
        assert hooks_of(model) == before


def test_order_and_batch_size_of_edits_change_nothing(editor: LiveEdit, repository: ExpertRepository) -> None:
    """A row's result does not depend on its neighbours: their padding, their tiles, their tokens."""
    other = editor.empty()
    editor.edit(other, EDITS[::-1], batch_size=1)
    for one, two in zip(repository, list(other)[::-1], strict=True):
        for name in ("U", "V", "phi", "psi"):
            ours, theirs = getattr(one, name), getattr(two, name)
            assert torch.allclose(ours, theirs, atol=1e-4 * float(ours.abs().max())), name


def test_saving_and_loading_changes_nothing(editor: LiveEdit, repository: ExpertRepository, folder: Path, tmp_path: Path) -> None:
    editor.save_pretrained(tmp_path)
    repository.save(tmp_path / "edits.safetensors")
    again = LiveEdit.from_pretrained(tmp_path, load_backbone(folder, "cpu"))
    edits = again.load_state(tmp_path / "edits.safetensors")
    assert again.answer(edits, QUERIES[1], max_new_tokens=NEW) == editor.answer(repository, QUERIES[1], max_new_tokens=NEW)
    with pytest.raises(EditorError, match=f"layer {LAYERS} is outside the backbone's {LAYERS} decoder layers"):
        LiveEdit(again.backbone, replace(editor.config, layer=LAYERS))


def test_the_plan_states_no_more_tokens_of_a_picture_than_it_knows(backbone: Backbone, folder: Path) -> None:
    found = footprint(folder)
    assert found.image_tokens_known is (backbone.config.model_type in ("llava", "llava_next", "blip-2", "gemma3"))
    spans = backbone.encode(PICTURES, ["Why?"] * len(PICTURES)).spans
    if found.image_tokens_known:
        assert found.image_tokens == max(end - start for start, end in (row.vision for row in spans))


@torch.no_grad()
def test_the_halves_of_a_forward_pass_are_the_forward_pass(backbone: Backbone) -> None:
    which = [0, 1, 0, 2]
    prompts = ["What is it?", "How many things are there?", "Why?", "Which animal is seen?"]
    batch = backbone.encode([PICTURES[i] for i in which], prompts)
    wanted = backbone.forward(batch, use_cache=False).logits
    assert batch.pictures is not None
    distinct, real = batch.pictures.select([0, 1, 3]), batch.attention_mask.bool()
    rows = torch.tensor([3, 1])
    for layer in range(first_layer(backbone.config), LAYERS):
        split = SplitForward(backbone, layer)
        states = split.lower(batch.input_ids, batch.attention_mask, distinct, which)
        found = backbone.head(split.upper(states, states.hidden))
        some = backbone.head(split.upper(states, states.hidden[rows], rows))
        assert torch.allclose(found[real], wanted[real], atol=1e-4 * float(wanted.abs().max())), layer
        assert torch.allclose(some[real[rows]], found[rows][real[rows]], atol=1e-4 * float(wanted.abs().max())), layer
        positions = backbone.positions(batch.input_ids, batch.attention_mask, distinct, which)
        again = split.known(batch.input_ids, batch.attention_mask, positions, states.hidden)
        assert torch.equal(backbone.head(split.upper(again, states.hidden)), found), layer
        assert torch.equal(backbone.head(split.upper(again, states.hidden[rows], rows)), some), layer


@torch.no_grad()
def test_a_recorded_vision_tower_gives_what_it_gave(backbone: Backbone) -> None:
    """Models write into the outputs of their towers; a record must not notice."""
    batch = backbone.encode([PICTURES[1]], ["What is it?"])
    wanted = backbone.forward(batch, use_cache=False).logits
    twin = exchanged(backbone, replay(backbone, batch, [vision_tower(backbone)]))
    for _ in range(2):
        assert torch.equal(twin.forward(batch, use_cache=False).logits, wanted)


def items() -> list[Item]:
    """Three training cases on pictures of different shapes."""
    made = []
    for number, edit in enumerate(EDITS):
        picture = Shown(np.asarray(PICTURES[number]), frozenset({f"picture {number}"}))
        elsewhere = Shown(np.asarray(PICTURES[3]), frozenset({"picture 3"}))
        asked = ("question", str(number))
        made.append(
            Item(picture, picture, edit.prompt, "Say what it is.", edit.target, asked, UNRELATED, elsewhere, "Why?", "so", asked)
        )
    return made


@pytest.mark.parametrize("chat", [True, False])
def test_rows_of_training_are_those_of_inference(backbone: Backbone, chat: bool) -> None:
    layout = RowLayout(backbone, chat)
    arrays, which = [np.asarray(p) for p in PICTURES[:3]], [1, 0, 2]
    prompts, answers = [e.prompt for e in EDITS], [e.target for e in EDITS]
    pictures, rows = layout.batch(arrays, which, prompts, answers)
    said = [[*backbone.answer_ids(a, chat), backbone.eos_id] for a in answers]
    asked = [p if chat and backbone.processor.chat_template else p + " The answer is:" for p in prompts]
    wanted = backbone.encode([PICTURES[i] for i in which], asked, said, chat)
    assert wanted.pictures is not None
    assert torch.equal(rows["ids"], wanted.input_ids) and torch.equal(rows["mask"], wanted.attention_mask)
    for part in ("vision", "prompt", "answer"):
        assert torch.equal(rows[part], wanted.part(part)), part
    shown = pictures.select(which)
    assert shown.lengths == wanted.pictures.lengths
    for name, value in wanted.pictures.values.items():
        size = tuple(slice(n) for n in value.shape)
        assert torch.allclose(shown.values[name][size], value, atol=1e-5), name


@pytest.mark.parametrize("stage", ["solo", "joint", "routing"])
def test_steps_of_training_lower_the_loss(backbone: Backbone, stage: str) -> None:
    torch.manual_seed(0)
    config = EditorConfig(hidden_size=WIDTH, layer=2, module_dim=16, rank=2, queries=2, heads=2, lora_scale=1.0, sentinel_tokens=5)
    trainer = EditorTrainer(backbone, LiveEditModules(config), EditorTrainingConfig(memory=0, routing_batch=3))
    batch = collate(items(), [e.prompt for e in EDITS], RowLayout(backbone))
    cache = StateCache([Shard.of(trainer.lower, batch)])
    optimizer, losses = torch.optim.Adam(trainer.modules.parameters(), 1e-2), []
    for _ in range(6):
        loss = {
            "solo": lambda: trainer.solo(batch),
            "joint": lambda: trainer.joint(batch, random.Random(0)),
            "routing": lambda: trainer.routing(cache, random.Random(0)),
        }[stage]()[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(p.grad is None for p in backbone.model.parameters())
