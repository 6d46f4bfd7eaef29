"""Cases for the editor's training out of a benchmark's training split, for any backbone.

Each sample is one edit with its own rephrased prompt, its own rephrased picture and its own M-Loc question. The
pictures are decoded where the items are drawn (a background process may do it); :func:`encode_items` then lays the
rows out through the backbone itself, exactly as they are at inference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from liveedit.backbones import Backbone
from liveedit.data import ImageSource, Sample
from liveedit.training.editor_samples import UNRELATED, EditorBatch, Item, Pairs, Shown
from liveedit.types import BackboneError, DataError

STREAM = 13  # the emoji world's batches draw from other streams of the seed


class BenchmarkItems(Dataset[list[Item]]):
    """The edits of each step, a pure function of (seed, stage, step): a run is resumed by starting at its step.

    Every epoch goes through the samples in an order of its own, without those that fill no batch; a batch holds no
    sample twice. The items' prompts are ready to be asked, answer cue included. ``shows`` names what a picture shows
    (:meth:`liveedit.data.Benchmark.shows`): edits of the same thing are not taught to be rivals.
    """

    def __init__(
        self, samples: Sequence[Sample], shows: Callable[[Path], str], seed: int, stage: int, steps: int, batch: int
    ) -> None:
        if len(samples) < batch:
            raise DataError(
                f"the benchmark has {len(samples)} samples for batches of {batch}: use more samples or a smaller batch"
            )
        self.samples, self.shows = samples, shows
        self.seed, self.stage, self.steps, self.batch = seed, stage, steps, batch

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Item]:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not one of {self.steps}")
        return [self.item(self.samples[number]) for number in self.chosen(step)]

    def chosen(self, step: int) -> list[int]:
        """The numbers of the samples of a step."""
        epoch, place = divmod(step, len(self.samples) // self.batch)
        order = np.random.default_rng([self.seed, STREAM, self.stage, epoch]).permutation(len(self.samples))
        return [int(number) for number in order[place * self.batch : (place + 1) * self.batch]]

    def item(self, sample: Sample) -> Item:
        """One sample with its pictures decoded; the redrawn picture shows what the edit's does."""
        content = self.content(sample.image)
        return Item(
            picture=_shown(sample.image, content),
            redrawn=_shown(sample.image_rephrase, content),
            prompt=sample.src,
            rephrase=sample.rephrase,
            target=sample.alt,
            meaning=_meaning(sample.src),
            locality_kind=UNRELATED,
            locality=_shown(sample.m_loc, self.content(sample.m_loc)),
            locality_prompt=sample.m_loc_q,
            locality_answer=sample.m_loc_a,
            locality_meaning=_meaning(sample.m_loc_q),
        )

    def content(self, source: ImageSource) -> str:
        """What a picture shows; it has to be a file, whose path tells."""
        if not isinstance(source.source, Path):
            raise DataError("a picture in memory cannot be trained on: save the benchmark's pictures to files")
        return self.shows(source.source)


def encode_items(backbone: Backbone, items: Sequence[Item]) -> EditorBatch:
    """B items as the trainer's batch of R = 4B rows and P = 3B pictures, through the backbone's own processor.

    Tensors lie on the backbone's device. Image generality asks in the edit's own words, as the benchmarks do.
    Raises :class:`BackboneError` when the processor does not give one block of pixels per picture.
    """
    count = len(items)
    pictures = [Image.fromarray(shown.pixels) for i in items for shown in (i.picture, i.redrawn, i.locality)]
    edits, redrawn, elsewhere = pictures[0::3], pictures[1::3], pictures[2::3]
    own = [i.prompt for i in items]
    prompts = [*own, *(i.rephrase for i in items), *own, *(i.locality_prompt for i in items)]
    answers = [i.target for i in items] * 3 + [i.locality_answer for i in items]
    encoded = backbone.encode(
        [*edits, *edits, *redrawn, *elsewhere],
        prompts,
        [[*backbone.answer_ids(answer), backbone.eos_id] for answer in answers],
        template=False,
    )
    if encoded.pixel_values is None or len(encoded.pixel_values) != 4 * count:
        raise BackboneError(
            f"the processor of {backbone.name} cuts pictures into unequal pieces: train an editor on a backbone with "
            "one block of pixels per picture"
        )
    edit = torch.arange(count)
    kept = torch.cat([edit, edit + 2 * count, edit + 3 * count])
    return EditorBatch(
        pixels=encoded.pixel_values[kept.to(encoded.pixel_values.device)],
        which=torch.cat([edit, edit, edit + count, edit + 2 * count]),
        ids=encoded.input_ids,
        mask=encoded.attention_mask,
        positions=encoded.position_ids,
        vision=encoded.part("vision"),
        prompt=encoded.part("prompt"),
        answer=encoded.part("answer"),
        pairs=Pairs.of(
            [i.picture.content for i in items],
            [i.locality.content for i in items],
            [i.meaning for i in items] + [i.locality_meaning for i in items],
            torch.tensor([i.locality_kind for i in items]),
        ),
    )


def _shown(source: ImageSource, content: str) -> Shown:
    """A decoded picture, uint8 [h, w, 3] in its own size, and what it shows."""
    return Shown(np.asarray(source.open()), frozenset({content}))


def _meaning(prompt: str) -> tuple[str, ...]:
    """Prompts mean the same when they are the same words: benchmarks ask many pictures one question."""
    return (" ".join(prompt.casefold().split()),)
