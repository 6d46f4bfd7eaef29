"""Training cases out of a benchmark: seeded, resumable, and laid out as inference lays them out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from liveedit.backbones import Backbone
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.data import BENCHMARKS, EIC, EVQA, VLKEB, Benchmark, ImageSource, Sample, read_benchmark
from liveedit.experts.modules import LiveEditModules
from liveedit.training.benchmark_samples import BenchmarkItems, encode_items
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import JOINT_STAGE, SOLO_STAGE, UNRELATED, loader
from liveedit.types import BackboneError, DataError

Read = Callable[..., list[Sample]]


@pytest.fixture
def read(publish: Callable[..., Path], published_row: Callable[[str, int], dict[str, Any]]) -> Read:
    """Samples of a benchmark's training file, as published."""

    def samples(name: str, count: int, **changes: Any) -> list[Sample]:
        benchmark = BENCHMARKS[name]
        file = benchmark.files["train"][0]
        root = publish(file, [{**published_row(name, n), **changes} for n in range(count)])
        return read_benchmark(benchmark, root / file, root).samples

    return samples


def items_of(samples: list[Sample], benchmark: Benchmark = EVQA, seed: int = 0, batch: int = 2) -> BenchmarkItems:
    return BenchmarkItems(samples, benchmark.shows, seed, SOLO_STAGE, 9, batch)


def test_every_sample_comes_once_an_epoch_and_the_order_is_a_function_of_the_step(read: Read) -> None:
    samples = read("evqa", 7)
    items = items_of(samples)
    chosen = [items.chosen(step) for step in range(9)]
    for epoch in range(3):
        seen = list(chain(*chosen[3 * epoch : 3 * epoch + 3]))
        assert len(set(seen)) == 6
        assert set(seen) <= set(range(7))
    assert chosen[:3] != chosen[3:6] != chosen[6:]
    again = items_of(samples)
    assert [again.chosen(step) for step in (8, 2, 5)] == [chosen[step] for step in (8, 2, 5)]
    assert [items_of(samples, seed=1).chosen(step) for step in range(9)] != chosen
    other = BenchmarkItems(samples, EVQA.shows, 0, JOINT_STAGE, 9, 2)
    assert [other.chosen(step) for step in range(9)] != chosen
    with pytest.raises(IndexError):
        items[9]


def test_a_run_is_resumed_at_its_step(read: Read) -> None:
    items = items_of(read("evqa", 5))
    straight = [[item.prompt for item in items[step]] for step in range(len(items))]
    resumed = [[item.prompt for item in batch] for batch in loader(items, range(6, len(items)))]  # type: ignore[arg-type]
    assert resumed == straight[6:]


def test_an_item_is_its_samples_own(read: Read) -> None:
    (sample,) = read("evqa", 1)
    (item,) = items_of([sample], batch=1)[0]
    assert (item.prompt, item.rephrase, item.target) == (sample.src, sample.rephrase, sample.alt)
    assert (item.locality_prompt, item.locality_answer) == (sample.m_loc_q, sample.m_loc_a)
    assert item.locality_kind == UNRELATED
    for shown, source in ((item.picture, sample.image), (item.redrawn, sample.image_rephrase),
                          (item.locality, sample.m_loc)):  # fmt: skip
        assert np.array_equal(shown.pixels, np.asarray(source.open()))
    assert item.picture.content == item.redrawn.content == frozenset({"COCO_val2014_000000000000.jpg"})
    assert item.locality.content.isdisjoint(item.picture.content)


def test_pictures_of_one_entity_and_equal_questions_are_no_rivals(read: Read, lively_backbone: Backbone) -> None:
    samples = read("vlkeb", 3)
    entity = samples[0].image.source
    assert isinstance(entity, Path)
    samples[1] = replace(samples[1], image=ImageSource(entity.parent / "bing_2.jpg"), m_loc_q=samples[2].src.upper())
    items = BenchmarkItems(samples, VLKEB.shows, 0, SOLO_STAGE, 1, 3)
    pairs = encode_items(lively_backbone, [items.item(sample) for sample in samples]).pairs
    same = [[True, True, False], [True, True, False], [False, False, True]]
    assert pairs.related.tolist() == same + [[False] * 3] * 3
    assert pairs.same_meaning[4].tolist() == [False, False, True, False, True, False]
    assert pairs.locality_kind.tolist() == [UNRELATED] * 3


def test_rows_are_those_of_inference(read: Read, lively_backbone: Backbone) -> None:
    items = items_of(read("evqa", 3), batch=3)[0]
    batch = encode_items(lively_backbone, items)
    rows = [(i.picture, i.prompt, i.target) for i in items] + [(i.picture, i.rephrase, i.target) for i in items]
    rows += [(i.redrawn, i.prompt, i.target) for i in items]
    rows += [(i.locality, i.locality_prompt, i.locality_answer) for i in items]
    assert batch.ids.shape[0] == 12 and batch.pixels.shape[0] == 9
    for number, (shown, prompt, answer) in enumerate(rows):
        answers = [[*lively_backbone.answer_ids(answer), lively_backbone.eos_id]]
        alone = lively_backbone.encode([Image.fromarray(shown.pixels)], [prompt], answers, template=False)
        length = alone.input_ids.shape[1]
        assert torch.equal(batch.ids[number, -length:], alone.input_ids[0])
        assert batch.mask[number].sum() == length
        assert alone.pixel_values is not None
        assert torch.equal(batch.pixels[batch.which[number]], alone.pixel_values[0])
        for name in ("vision", "prompt", "answer"):
            assert torch.equal(getattr(batch, name)[number, -length:], alone.part(name)[0])
        assert torch.equal(batch.positions[number, -length:], torch.arange(length))


@pytest.mark.parametrize("benchmark", [EVQA, EIC])
def test_the_trainer_learns_from_them(read: Read, lively_backbone: Backbone, benchmark: Benchmark) -> None:
    """E-IC asks every picture the same, so no prompt is another's rival: the losses stay finite."""
    torch.manual_seed(0)
    config = EditorConfig(hidden_size=64, layer=1, module_dim=32, rank=4, queries=2, heads=4, lora_scale=1.0,
                          sentinel_tokens=64, generator_signal="states+tokens")  # fmt: skip
    trainer = EditorTrainer(lively_backbone, LiveEditModules(config), EditorTrainingConfig(memory=0))
    batch = encode_items(lively_backbone, items_of(read(benchmark.name, 4), benchmark, batch=4)[0])
    optimizer = torch.optim.Adam(trainer.modules.parameters(), 3e-3)
    losses: dict[int, list[float]] = {SOLO_STAGE: [], JOINT_STAGE: []}
    for stage, found in losses.items():
        for _ in range(6):
            loss, _ = trainer.solo(batch) if stage == SOLO_STAGE else trainer.joint(batch, random.Random(0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    assert all(np.isfinite(found).all() and found[-1] < found[0] for found in losses.values())


def test_what_cannot_be_trained_on_is_refused(read: Read, lively_backbone: Backbone) -> None:
    samples = read("evqa", 2)
    with pytest.raises(DataError, match="has 2 samples for batches of 3"):
        items_of(samples, batch=3)
    memory = ImageSource(Image.new("RGB", (4, 4)))
    with pytest.raises(DataError, match="in memory cannot be trained on"):
        items_of([replace(samples[0], image=memory)], batch=1)[0]

    class Pieces(Backbone):
        """A backbone whose processor gives two blocks of pixels per picture."""

        def __init__(self, whole: Backbone) -> None:
            vars(self).update(vars(whole))

        def encode(self, *args: Any, **options: Any) -> Any:
            encoded = super().encode(*args, **options)
            assert encoded.pixel_values is not None
            encoded.pixel_values = encoded.pixel_values.repeat(2, 1, 1, 1)
            return encoded

    with pytest.raises(BackboneError, match="unequal pieces"):
        encode_items(Pieces(lively_backbone), items_of(samples)[0])
