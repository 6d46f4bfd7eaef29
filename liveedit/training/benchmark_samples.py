"""Cases for the editor's training out of a benchmark's samples, for every backbone that can be trained on.

Each sample is one edit with its own rephrased prompt, its own rephrased picture and its own M-Loc question.
:class:`BenchmarkCases` offers what the stages of training ask of the emoji world's cases, in the same shape.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from liveedit.backbones import Backbone
from liveedit.config import EditorTrainingConfig
from liveedit.configs import BaselineTrainingConfig
from liveedit.data import Benchmark, ImageSource, Sample, fitting
from liveedit.training.editor_samples import SOLO_STAGE, UNRELATED, EditorBatch, Item, Shown, collate, epoch_order
from liveedit.training.layouts import RowLayout
from liveedit.types import DataError

STREAM = 13  # the emoji world's batches draw from other streams of the seed
HELD_BACK = 20


class ReadyRows(RowLayout):
    """Rows of prompts that are ready to be asked, on pictures of any size: only the picture goes before them."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone, chat=False)
        self.after, self.embedded = "", False


class BenchmarkBatches(Dataset[EditorBatch]):
    """Batches by step, each a pure function of (seed, stage, step): a run is resumed by starting at its step.

    Every epoch goes through the samples in an order of its own, without those that fill no batch; a batch holds no
    sample twice. ``shows`` names what a picture shows (:meth:`liveedit.data.Benchmark.shows`): edits of the same
    thing, and prompts in the same words, are not taught to be rivals.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        shows: Callable[[Path], str],
        layout: RowLayout,
        seed: int,
        stage: int,
        steps: int,
        batch: int,
    ) -> None:
        if len(samples) < batch:
            raise DataError(
                f"there are {len(samples)} samples for batches of {batch}: use more samples or a smaller batch"
            )
        self.samples, self.shows, self.layout = samples, shows, layout
        self.seed, self.stage, self.steps, self.batch = seed, stage, steps, batch

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> EditorBatch:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not one of {self.steps}")
        items = [self.item(self.samples[number]) for number in self.chosen(step)]
        # The benchmarks ask image generality in the edit's own words.
        return collate(items, [item.prompt for item in items], self.layout)

    def chosen(self, step: int) -> list[int]:
        """The numbers of the samples of a step."""
        epoch, place = divmod(step, len(self.samples) // self.batch)
        order = epoch_order(len(self.samples), self.seed, STREAM, self.stage, epoch)
        return order[place * self.batch : (place + 1) * self.batch]

    def item(self, sample: Sample) -> Item:
        """One sample with its pictures decoded; the rephrased picture shows what the edit's does."""
        content = _content(sample.image, self.shows)
        picture = _shown(sample.image, content)
        # The first stage asks no locality question, so its picture need not be read.
        elsewhere = picture
        if self.stage != SOLO_STAGE:
            elsewhere = _shown(sample.m_loc, _content(sample.m_loc, self.shows))
        return Item(
            picture=picture,
            redrawn=_shown(sample.image_rephrase, content),
            prompt=sample.src,
            rephrase=sample.rephrase,
            target=sample.alt,
            meaning=_meaning(sample.src),
            locality_kind=UNRELATED,
            locality=elsewhere,
            locality_prompt=sample.m_loc_q,
            locality_answer=sample.m_loc_a,
            locality_meaning=_meaning(sample.m_loc_q),
        )


@dataclass(frozen=True)
class BenchmarkCases:
    """What batches are drawn from: samples by split, "train" and "eval" (held back to validate on)."""

    layout: RowLayout
    shows: Callable[[Path], str]
    samples: Mapping[str, Sequence[Sample]]

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        benchmark: Benchmark,
        samples: Sequence[Sample],
        config: EditorTrainingConfig | BaselineTrainingConfig,
    ) -> BenchmarkCases:
        """The samples that the backbone accepts; with validation, those of one thing in twenty are held back.

        Raises :class:`DataError` when there are too few for a batch of any stage, before the first is trained.
        """
        fit = fitting(samples, backbone)
        held = [config.validate_every > 0 and _held_back(_content(sample.image, benchmark.shows)) for sample in fit]
        train = [sample for sample, back in zip(fit, held, strict=True) if not back]
        held_back = [sample for sample, back in zip(fit, held, strict=True) if back]
        needed = config.batch
        if isinstance(config, EditorTrainingConfig) and config.solo_steps:
            needed = max(needed, config.solo_batch)
        if len(train) < needed or (config.validate_every and len(held_back) < needed):
            parted = f", {len(held_back)} of them held back to validate on" if config.validate_every else ""
            raise DataError(
                f"of {len(samples)} samples the backbone accepts {len(fit)}{parted}, but a batch takes {needed}: "
                "use more samples, or smaller batches"
            )
        return cls(ReadyRows(backbone), benchmark.shows, {"train": train, "eval": held_back})

    def batches(
        self, seed: int, stage: int, count: int, size: int, split: str, pictures: bool = True
    ) -> BenchmarkBatches:
        """``count`` batches of ``size`` edits; their pictures are read whether they are looked at or not."""
        return BenchmarkBatches(self.samples[split], self.shows, self.layout, seed, stage, count, size)

    def checksum(self, split: str) -> str:
        """Tells apart what the batches of a split are drawn from."""
        return samples_checksum(self.samples[split])


def samples_checksum(samples: Sequence[Sample]) -> str:
    """A checksum of every sample's words, and of where its pictures lie."""
    digest = hashlib.sha256()
    for s in samples:
        pictures = [str(source.source) for source in (s.image, s.image_rephrase, s.m_loc)]
        words = [s.src, s.rephrase, s.alt, s.m_loc_q, s.m_loc_a]
        digest.update(json.dumps([*words, *pictures]).encode())
    return digest.hexdigest()[:16]


def _content(source: ImageSource, shows: Callable[[Path], str]) -> str:
    """What a picture shows; it has to be a file, whose path tells."""
    if not isinstance(source.source, Path):
        raise DataError("a picture in memory cannot be trained on: save the benchmark's pictures to files")
    return shows(source.source)


def _held_back(content: str) -> bool:
    """Whether what shows this is kept from training."""
    return zlib.crc32(content.encode()) % HELD_BACK == 0


def _shown(source: ImageSource, content: str) -> Shown:
    """A decoded picture, uint8 [h, w, 3] in its own size, and what it shows."""
    return Shown(np.asarray(source.open()), frozenset({content}))


def _meaning(prompt: str) -> tuple[str, ...]:
    """Prompts mean the same when they are the same words: benchmarks ask many pictures one question."""
    return (" ".join(prompt.casefold().split()),)
