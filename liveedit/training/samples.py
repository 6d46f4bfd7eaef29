"""Batches of the emoji world for pre-training, each a pure function of (seed, step).

Two kinds. A *vision* batch labels every patch of a picture with what covers it (a dense signal that
teaches the tower to tell the glyphs apart long before language could). A *language* batch packs
several questions behind one picture; a block mask keeps them from seeing each other, and positions
restart for each, so that every question is laid out as it is when asked alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from liveedit.training.architecture import ANSWER_CUE, IMAGE_SIZE, PATCH
from liveedit.world.cases import flippable, members_of
from liveedit.world.catalogue import glyphs
from liveedit.world.photos import PhotoSet, render_photo
from liveedit.world.questions import Question, ask_copy, ask_text, photo_question, sample_questions
from liveedit.world.scenes import COLOURS, Scene, render, sample_scene

GRID = IMAGE_SIZE // PATCH
IMAGE_TOKENS = GRID * GRID
IGNORE = -100
# Flags carry several facts each, so they are shown more often than their number would have them.
FLAG_SHARE = 0.08
PIXEL_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
PIXEL_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def to_pixels(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 pictures [112, 112, 3] to normalised float32 [B, 3, 112, 112], as the processor does."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255.0
    return (stacked - PIXEL_MEAN) / PIXEL_STD


def random_scene(rng: np.random.Generator, weights: Sequence[float]) -> Scene:
    """A scene of 1-4 glyphs; ``weights`` are the chances of each number of objects.

    Some scenes repeat a glyph or draw from one category, so that counting and telling look-alikes
    apart are not rare.
    """
    count = int(rng.choice(4, p=weights)) + 1
    table = glyphs()
    chosen = [int(i) for i in rng.integers(len(table), size=count)]
    if rng.random() < FLAG_SHARE:
        flags = members_of("flag")
        chosen[0] = flags[int(rng.integers(len(flags)))]
    if count > 1:
        kind = rng.random()
        if kind < 0.15:
            chosen[1:] = [chosen[0] if rng.random() < 0.6 else other for other in chosen[1:]]
        elif kind < 0.35:
            mates = members_of(table[chosen[0]].category)
            chosen = [mates[int(i)] for i in rng.integers(len(mates), size=count)]
    return sample_scene(rng, chosen, flippable)


def patch_labels(scene: Scene) -> np.ndarray:
    """What covers each patch, int64 [64]: a glyph's index, a ground colour behind them, or IGNORE at edges."""
    centres = (np.arange(GRID) + 0.5) / GRID
    labels = np.full((GRID, GRID), len(glyphs()) + 10 + COLOURS.index(scene.ground.colour), np.int64)
    for placed in scene.objects:
        reach = np.maximum(abs(centres[None, :] - placed.cx), abs(centres[:, None] - placed.cy)) / placed.size
        labels[(reach >= 0.38) & (reach < 0.62)] = IGNORE
        labels[reach < 0.38] = placed.glyph
    return labels.reshape(-1)


def label_count() -> int:
    """Number of dense labels: the glyphs, ten classes of photographs, the ground colours."""
    return len(glyphs()) + 10 + len(COLOURS)


@dataclass
class VisionBatch:
    """``scenes`` [S, 3, 112, 112] with ``labels`` [S, 64]; ``photos`` [P, 3, 112, 112], their ``classes`` [P]
    and the patches each keeps, ``kept`` [P, K] (a photograph's many views matter more than all its patches)."""

    scenes: torch.Tensor
    labels: torch.Tensor
    photos: torch.Tensor
    classes: torch.Tensor
    kept: torch.Tensor


class VisionBatches(Dataset[VisionBatch]):
    """Vision batches by step number."""

    def __init__(self, seed: int, steps: int, scenes: int, photos: PhotoSet | None, photo_count: int) -> None:
        self.seed, self.steps, self.scenes = seed, steps, scenes
        self.photos, self.photo_count = photos, photo_count

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> VisionBatch:
        rng = np.random.default_rng([self.seed, 1, step])
        drawn = [random_scene(rng, (0.2, 0.25, 0.2, 0.35)) for _ in range(self.scenes)]
        pictures = [render(scene, IMAGE_SIZE) for scene in drawn]
        labels = torch.from_numpy(np.stack([patch_labels(scene) for scene in drawn]))
        photos, classes, kept = photo_batch(self.photos, self.photo_count, rng)
        return VisionBatch(to_pixels(pictures), labels, photos, classes, kept)


def photo_batch(
    photos: PhotoSet | None, count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random augmented photographs [P, 3, 112, 112], dense labels [P] and half of their patches [P, 32]."""
    if photos is None or count == 0:
        return torch.zeros(0, 3, IMAGE_SIZE, IMAGE_SIZE), torch.zeros(0, dtype=torch.long), torch.zeros(0, 32).long()
    picked = rng.integers(len(photos), size=count)
    pictures = [render_photo(photos.images[i], IMAGE_SIZE, rng) for i in picked]
    kept = np.sort(np.argsort(rng.random((count, IMAGE_TOKENS)), axis=1)[:, : IMAGE_TOKENS // 2], axis=1)
    classes = torch.from_numpy(photos.labels[picked] + len(glyphs()))
    return to_pixels(pictures), classes, torch.from_numpy(kept)


@dataclass
class LanguageBatch:
    """Rows of ``IMAGE_TOKENS + T`` positions: the first ``len(pixels)`` rows begin with a picture, the other
    rows are text throughout.

    ``tokens`` [B, 64 + T] (picture positions hold the pad token), ``segments`` [B, 64 + T] (0 the picture,
    1.. the questions, -1 padding), ``positions`` and ``targets`` [B, 64 + T] (IGNORE where nothing is learned),
    ``patches`` [P, 64] the dense labels of the pictures.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    patches: torch.Tensor
    extra: VisionBatch | None = None


def block_mask(segments: torch.Tensor) -> torch.Tensor:
    """Bool [B, 1, T, T]: causal, a question sees the picture (segment 0) and itself, padding only itself."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = segments[:, :, None] == segments[:, None, :]
    picture = (segments[:, None, :] == 0) & (segments[:, :, None] >= 0)
    alone = torch.eye(length, dtype=torch.bool)
    padding = (segments < 0)[:, :, None]
    return (torch.where(padding, alone, causal & (same | picture)))[:, None]


class Packer:
    """Turns questions into packed rows."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, text_tokens: int) -> None:
        self.tokenizer, self.text_tokens = tokenizer, text_tokens
        self.pad, self.eos = tokenizer.pad_token_id, tokenizer.eos_token_id

    def encode(self, questions: Sequence[Question], rng: random.Random) -> list[tuple[list[int], int]]:
        """Token ids of prompt + answer + stop, and how many of them belong to the prompt."""
        # One question in eight lacks the cue: the benchmark's text prompts end with a bare question mark.
        prompts = [q.prompt + (ANSWER_CUE if rng.random() < 0.875 else "") for q in questions]
        answers = [" " + q.answer for q in questions]
        ids = self.tokenizer(prompts + answers, add_special_tokens=False)["input_ids"]
        half = len(prompts)
        return [(ids[i] + ids[half + i] + [self.eos], len(ids[i])) for i in range(half)]

    def row(
        self, encoded: Sequence[tuple[list[int], int]], picture: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One row of 64 + T positions filled with as many of the questions as fit."""
        length = IMAGE_TOKENS + self.text_tokens
        tokens = np.full(length, self.pad, np.int64)
        segments = np.full(length, -1, np.int64)
        positions = np.zeros(length, np.int64)
        targets = np.full(length, IGNORE, np.int64)
        at = 0
        if picture:
            segments[:IMAGE_TOKENS], positions[:IMAGE_TOKENS], at = 0, np.arange(IMAGE_TOKENS), IMAGE_TOKENS
        start = at
        number = 0
        for ids, prompt in encoded:
            end = at + len(ids)
            if end > length:
                continue
            number += 1
            tokens[at:end] = ids
            segments[at:end] = number
            positions[at:end] = start + np.arange(len(ids)) if picture else np.arange(len(ids))
            targets[at + prompt - 1 : end - 1] = ids[prompt:]
            at = end
        return tokens, segments, positions, targets


class LanguageBatches(Dataset[LanguageBatch]):
    """Language batches by step number. ``split`` "eval" draws held-out wordings and other scenes."""

    def __init__(
        self,
        seed: int,
        steps: int,
        packer: Packer,
        pictures: int,
        text_rows: int,
        photos: PhotoSet | None,
        vocabulary: Sequence[str],
        exchanges: Sequence[tuple[str, str, str]],
        split: str = "train",
        extra_photos: int = 0,
        photo_share: float = 0.15,
        copy_share: float = 0.7,
    ) -> None:
        self.seed, self.steps, self.packer, self.split = seed, steps, packer, split
        self.pictures, self.text_rows, self.photos = pictures, text_rows, photos
        self.vocabulary, self.exchanges = vocabulary, exchanges
        self.extra_photos, self.photo_share = extra_photos, photo_share if photos is not None else 0.0
        self.copy_share = copy_share

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> LanguageBatch:
        stream = 2 if self.split == "train" else 3
        rng = np.random.default_rng([self.seed, stream, step])
        dice = random.Random(int(rng.integers(2**62)))
        rows, pictures, patches = [], [], []
        for _ in range(self.pictures):
            if rng.random() < self.photo_share and self.photos is not None:
                index = int(rng.integers(len(self.photos)))
                pictures.append(render_photo(self.photos.images[index], IMAGE_SIZE, rng))
                patches.append(np.full(IMAGE_TOKENS, len(glyphs()) + int(self.photos.labels[index]), np.int64))
                questions = [photo_question(self.photos.answer(index), dice, self.split) for _ in range(3)]
                questions += [self.copied(dice) for _ in range(self.packer.text_tokens // 16)]
            else:
                scene = random_scene(rng, (0.45, 0.25, 0.15, 0.15))
                pictures.append(render(scene, IMAGE_SIZE))
                patches.append(patch_labels(scene))
                questions = sample_questions(scene, dice, self.packer.text_tokens // 8, self.split)
            rows.append(self.packer.row(self.packer.encode(questions, dice), picture=True))
        for _ in range(self.text_rows):
            mixed = [self.copied(dice) if dice.random() < self.copy_share else ask_text(dice, self.split) for _ in range(14)]
            rows.append(self.packer.row(self.packer.encode(mixed, dice), picture=False))
        tokens, segments, positions, targets = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        extra = None
        if self.extra_photos and self.photos is not None:
            photos, classes, kept = photo_batch(self.photos, self.extra_photos, rng)
            extra = VisionBatch(photos[:0], torch.zeros(0, IMAGE_TOKENS).long(), photos, classes, kept)
        return LanguageBatch(
            to_pixels(pictures), tokens, segments, positions, targets, torch.from_numpy(np.stack(patches)), extra
        )

    def copied(self, dice: random.Random) -> Question:
        """A question answered from its own context; with annotations given, some in their natural wording."""
        if self.exchanges and dice.random() < 0.35:
            question, rephrased, answer = dice.choice(self.exchanges)
            prompt = f"{question} {answer}. {rephrased if dice.random() < 0.6 else question}"
            return Question("copy", prompt, answer, 0, None)
        return ask_copy(dice, self.vocabulary, self.split)
