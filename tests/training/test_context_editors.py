"""The trainings of retrieval, LTE, RECIPE and SERAC: each runs, learns its task on a batch, and leaves an editor that loads."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from importlib import import_module
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

from liveedit.backbones import Backbone
from liveedit.cli import main
from liveedit.configs import TRAINED
from liveedit.configs.lte import LteConfig
from liveedit.configs.recipe import RecipeConfig, RecipeTrainingConfig
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.configs.serac import SeracConfig
from liveedit.editors import EDITORS
from liveedit.editors.lte import joined
from liveedit.training.context_rows import answer_logits, rows_of, scopes, text_rows
from liveedit.training.editor_samples import JOINT_STAGE, NEAR_MISS, EditorBatch, EditorBatches
from liveedit.training.layouts import RowLayout
from liveedit.training.lte import LteTrainee
from liveedit.training.processes import Share, open_accelerator
from liveedit.training.validation import HeldOut
from liveedit.types import Edit
from liveedit.world.cases import default_vocabulary

SMALL: dict[str, Any] = {
    "lte": LteConfig(rank=4, retriever_layers=1, retriever_width=16, head_width=8),
    "recipe": RecipeConfig(layer=1, width=32, key_width=16, ordered_tokens=4),
    "retrieval": RetrievalConfig(layer=1),
    "serac": SeracConfig(1, 32, 2, 64, head_width=32),
}


@pytest.fixture(scope="module")
def batch(lively_backbone: Backbone) -> EditorBatch:
    layout = RowLayout(lively_backbone)
    return EditorBatches(0, JOINT_STAGE, 1, 6, layout, default_vocabulary(), None, ())[0]


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_is_learned(name: str, lively_backbone: Backbone, batch: EditorBatch) -> None:
    torch.manual_seed(0)
    training = RecipeTrainingConfig(locality_weight=0.1)
    trainee = import_module(TRAINED[name].module).build(lively_backbone, SMALL[name], training)
    trainee.modules.train().requires_grad_(True)
    optimizer = torch.optim.Adam(trainee.modules.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss, seen = trainee.loss(batch, random.Random(0))
        assert all(isinstance(value, float) for value in seen.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert not any(p.grad is not None for p in lively_backbone.model.parameters())
    for parameter in trainee.modules.parameters():
        assert parameter.grad is not None


@pytest.mark.parametrize("name", ["recipe", "retrieval"])
def test_validation_adds_nothing_to_what_is_gathered(
    name: str, lively_backbone: Backbone, batch: EditorBatch
) -> None:
    torch.manual_seed(0)
    trainee = import_module(TRAINED[name].module).build(lively_backbone, SMALL[name], RecipeTrainingConfig())
    modules = trainee.modules.train()
    with torch.no_grad():
        trainee.loss(batch, random.Random(0))
    gathered = {name: value.clone() for name, value in modules.named_buffers()}
    assert any(value.any() for value in gathered.values())
    share = Share(open_accelerator("cpu", "no", 1))
    held_out = HeldOut(name, modules, lambda numbers: [batch] * len(numbers), 2, trainee.loss, 0, share)
    found = held_out.measure()
    assert all(torch.equal(value, gathered[name]) for name, value in modules.named_buffers())
    assert all(module.training for module in modules.modules())
    # Held-out cases are met as they will be when the editor is in use.
    modules.eval()
    with torch.no_grad():
        losses = [float(trainee.loss(batch, random.Random(f"0 {name} held out {i}"))[0]) for i in range(2)]
    assert found["loss"] == pytest.approx(sum(losses) / 2)


@pytest.mark.parametrize("name", SMALL)
def test_the_command_leaves_an_editor_that_edits(
    name: str, lively_backbone_folder: Path, lively_backbone: Backbone, some_edits: list[Edit], tmp_path: Path
) -> None:
    sizes = [
        text for key, value in vars(SMALL[name]).items() if isinstance(value, int) and not isinstance(value, bool)
        for text in (f"--{key.replace('_', '-')}", str(value))
    ]  # fmt: skip
    given = ["--backbone", str(lively_backbone_folder), "--device", "cpu", "--batch", "2", "--steps", "2", "--warmup", "1"]
    assert main(["train", "--editor", name, "--out", str(tmp_path), *given, *sizes]) == 0
    editor = EDITORS[name].from_pretrained(tmp_path, lively_backbone)
    state = editor.empty()
    assert editor.edit(state, some_edits[:2]) == ["1", "2"]
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert "found" in curve[-1]


def test_rows_are_those_of_the_batch(lively_backbone: Backbone, batch: EditorBatch) -> None:
    rows = rows_of(lively_backbone, batch, [0, 7, 20])
    for place, row in enumerate((0, 7, 20)):
        encoded = rows.encoded
        real = encoded.input_ids[place, encoded.offsets[place] :].tolist()
        assert real == batch.ids[row][batch.mask[row].bool()].tolist()
    logits, gold, number = answer_logits(lively_backbone, rows)
    assert gold.tolist() == [t for row in (0, 7, 20) for t in batch.ids[row][batch.answer[row]].tolist()]
    # The same rows as the model itself reads them, pixels included.
    pixels = batch.pictures.select([int(batch.which[row]) for row in (0, 7, 20)]).values
    whole = lively_backbone.model(**rows.encoded.model_inputs(), **pixels).logits
    before = torch.zeros_like(rows.encoded.part("answer"))
    before[:, :-1] = rows.encoded.part("answer")[:, 1:]
    assert torch.allclose(whole[before], logits, atol=1e-4)
    assert number.tolist() == sorted(number.tolist())
    picked = rows.picked(lively_backbone, [2])
    assert torch.allclose(answer_logits(lively_backbone, picked)[0], logits[number == 2], atol=1e-4)
    texts = text_rows(lively_backbone, batch, [0])
    assert texts.input_ids[0].tolist() == batch.ids[0][batch.prompt[0]].tolist()


def test_lte_learns_with_as_many_edits_before_a_question_as_it_retrieves(
    lively_backbone: Backbone, batch: EditorBatch
) -> None:
    count = len(batch.pairs.contents)
    single, several = (
        LteTrainee(lively_backbone, replace(SMALL["lte"], retrieved=n), RecipeTrainingConfig()) for n in (1, 3)
    )
    prefixes = [single.prefix(batch, i) for i in range(count)]
    untouched = random.Random(0)
    assert single.context(batch, 2, 2, untouched) == prefixes[2]
    assert untouched.getstate() == random.Random(0).getstate()
    held = {
        tuple(joined(lively_backbone, several.config, [prefixes[i] for i in chosen])): chosen
        for n in (1, 2, 3)
        for chosen in permutations(range(count), n)
    }
    rng, seen = random.Random(0), set()
    for question in [*range(2 * count)] * 4:
        edit = question % count
        chosen = held[tuple(several.context(batch, edit, question, rng))]
        assert edit in chosen
        assert not any(batch.pairs.same_meaning[question, i] for i in chosen if i != edit)
        seen.add((len(chosen), chosen.index(edit)))
    assert seen == {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}
    loss, _ = several.loss(batch, random.Random(0))
    assert loss.isfinite()


def test_lte_is_to_keep_what_the_original_model_says(
    lively_backbone: Backbone, batch: EditorBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = LteTrainee(lively_backbone, SMALL["lte"], RecipeTrainingConfig())
    # Without a prefix the tuned model reads what the original one does: only its changes can set them apart.
    monkeypatch.setattr(trainee, "context", lambda *_: [])
    assert trainee.loss(batch, random.Random(0))[1]["locality"] == pytest.approx(0.0, abs=1e-5)
    with torch.no_grad():
        for name, parameter in trainee.lte.changes.named_parameters():
            if name.endswith("up"):
                parameter.normal_(std=0.1)
    loss, seen = trainee.loss(batch, random.Random(0))
    assert seen["locality"] > 0.01
    assert loss.item() > seen["editing"] + seen["locality"]


def test_scopes_say_what_a_question_is_about(batch: EditorBatch) -> None:
    own, rivals = scopes(batch.pairs)
    count = len(batch.pairs.contents)
    assert torch.equal(own[:count], torch.eye(count, dtype=torch.bool))
    assert not own[count:].any()
    assert not (own & rivals).any()
    for question in range(count):
        if batch.pairs.locality_kind[question] == NEAR_MISS:
            assert rivals[count + question, question]
        for edit in range(count):
            alike = batch.pairs.related[question, edit] and batch.pairs.same_meaning[question, edit]
            assert bool(rivals[question, edit]) == (not alike and question != edit)


def test_blank_batches_are_the_same_but_for_their_pictures(lively_backbone: Backbone) -> None:
    layout = RowLayout(lively_backbone)
    drawn, blank = (
        EditorBatches(3, JOINT_STAGE, 1, 3, layout, default_vocabulary(), None, (), pictures=shown)[0]
        for shown in (True, False)
    )
    assert torch.equal(drawn.ids, blank.ids)
    assert drawn.pairs.contents == blank.pairs.contents
    pixels = blank.pictures.values["pixel_values"]
    assert drawn.pictures.values["pixel_values"].std() > 0.1
    assert torch.equal(pixels, pixels[:1].expand_as(pixels))
