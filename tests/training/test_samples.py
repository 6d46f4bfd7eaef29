"""Batches of pre-training: laid out as a single question is, and the same for the same step."""

from __future__ import annotations

import random

import numpy as np
import torch

from liveedit.backbones import Backbone
from liveedit.training.pretrain import additive
from liveedit.training.samples import (
    IGNORE,
    IMAGE_TOKENS,
    LanguageBatches,
    Packer,
    block_mask,
    patch_labels,
    random_scene,
)
from liveedit.world.questions import Question
from liveedit.world.scenes import object_masks


def test_a_packed_question_sees_the_picture_and_itself_only() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 2, -1]])
    mask = block_mask(segments)[0, 0]
    seen = [sorted(torch.nonzero(mask[i]).flatten().tolist()) for i in range(6)]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [5]]


def test_packed_logits_equal_those_of_each_question_asked_alone(lively_backbone: Backbone) -> None:
    packer = Packer(lively_backbone.tokenizer, 64)
    asked = [Question("name", "What is this?", "cat", 0, 0), Question("count", "How many things?", "two", 0, None)]
    encoded = packer.encode(asked, random.Random(0))
    tokens, segments, positions, targets = (torch.from_numpy(p)[None] for p in packer.row(encoded, picture=True))
    model = lively_backbone.model
    picture = torch.randn(1, IMAGE_TOKENS, 64)
    embed = model.get_input_embeddings()
    with torch.no_grad():
        packed = model.model.language_model(
            inputs_embeds=torch.cat([picture, embed(tokens[:, IMAGE_TOKENS:])], 1),
            attention_mask=block_mask(segments), position_ids=positions, use_cache=False,
        ).last_hidden_state
        for number, (ids, _) in enumerate(encoded, start=1):
            alone = model.model.language_model(
                inputs_embeds=torch.cat([picture, embed(torch.tensor([ids]))], 1), use_cache=False
            ).last_hidden_state
            assert torch.allclose(packed[0, segments[0] == number], alone[0, IMAGE_TOKENS:], atol=1e-5)
    gold = targets[0][targets[0] != IGNORE].tolist()
    assert gold == [i for ids, prompt in encoded for i in ids[prompt:]]


def test_a_batch_is_a_function_of_seed_and_step(lively_backbone: Backbone) -> None:
    packer = Packer(lively_backbone.tokenizer, 64)

    def batches() -> LanguageBatches:
        return LanguageBatches(5, 10, packer, 2, 1, None, ["word", "other"], ())

    first, again, other = batches()[3], batches()[3], batches()[4]
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.pixels, other.pixels)


def test_patch_labels_name_the_glyph_that_covers_the_patch() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        scene = random_scene(rng, (0.5, 0.5, 0.0, 0.0))
        labels = patch_labels(scene).reshape(8, 8)
        assert {o.glyph for o in scene.objects} <= set(labels.flatten().tolist())
        masks = object_masks(scene, 112)
        for glyph in {o.glyph for o in scene.objects}:
            # A scene may show a glyph twice.
            shown = np.any([m for m, o in zip(masks, scene.objects, strict=True) if o.glyph == glyph], axis=0)
            covered = shown.reshape(8, 14, 8, 14).mean((1, 3))[labels == glyph]
            # Glyphs have holes (a guitar's outline): most of the patches labelled with one touch it.
            assert (covered > 0).mean() > 0.5


def test_the_additive_mask_hides_what_is_not_allowed() -> None:
    allowed = torch.tensor([[True, False], [True, True]])
    shares = (torch.zeros(2, 2, dtype=torch.bfloat16) + additive(allowed, torch.bfloat16)).softmax(-1)
    assert shares.tolist() == [[1.0, 0.0], [0.5, 0.5]]
