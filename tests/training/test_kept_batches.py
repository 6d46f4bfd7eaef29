"""Kept batches: the joint loss of known states is that of the pictures, and every batch comes once an epoch."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from liveedit.backbones import Backbone
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.experts.modules import LiveEditModules
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import JOINT_STAGE, EditorBatch, EditorBatches, KnownStates
from liveedit.training.kept_batches import KeptBatches
from liveedit.training.layouts import RowLayout
from liveedit.training.processes import Share, open_accelerator
from liveedit.types import ConfigError, DataError
from liveedit.world.cases import default_vocabulary


@pytest.fixture(scope="module")
def batches(lively_backbone: Backbone) -> EditorBatches:
    return EditorBatches(3, JOINT_STAGE, 3, 2, RowLayout(lively_backbone), default_vocabulary(), None, ())


@pytest.fixture(scope="module")
def share() -> Share:
    return Share(open_accelerator("cpu", "no", 1))


@pytest.fixture
def trainer(lively_backbone: Backbone) -> EditorTrainer:
    torch.manual_seed(0)
    config = EditorConfig(hidden_size=64, layer=1, module_dim=32, queries=2, heads=4, sentinel_tokens=64)
    return EditorTrainer(lively_backbone, LiveEditModules(config), EditorTrainingConfig(memory=0))


@pytest.mark.parametrize("kept_in", ["memory", "folder"])
def test_the_joint_loss_is_that_of_the_pictures(
    trainer: EditorTrainer, batches: EditorBatches, share: Share, tmp_path: Path, kept_in: str
) -> None:
    if kept_in == "memory":
        kept = KeptBatches.compute(trainer.known, batches, share)
    else:
        kept = KeptBatches.open(trainer.known, batches, share, tmp_path / "joint", {"seed": 3})
    assert len(kept) == 3
    for number in range(3):
        trainer.modules.zero_grad()
        wanted, seen = trainer.joint(batches[number], random.Random(number))
        wanted.backward()
        gradient = [p.grad.clone() for p in trainer.modules.parameters() if p.grad is not None]
        trainer.modules.zero_grad()
        assert len(kept[number].pictures.values) == 0
        found, same = trainer.joint(kept[number], random.Random(number))
        found.backward()
        assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
        assert same == pytest.approx(seen, abs=1e-4)
        again = [p.grad for p in trainer.modules.parameters() if p.grad is not None]
        assert len(again) == len(gradient) > 0
        # Of some weights the gradient is zero but for rounding, so what is compared with is the largest of all.
        largest = max(float(b.abs().max()) for b in gradient)
        assert max(float((a - b).abs().max()) for a, b in zip(again, gradient, strict=True)) < 1e-4 * largest


def test_every_batch_comes_once_an_epoch_and_a_resumed_run_goes_on_in_the_same_order(
    trainer: EditorTrainer, batches: EditorBatches, share: Share
) -> None:
    kept = KeptBatches.compute(trainer.known, batches, share)
    order = kept.shuffled(5, range(12))
    assert all(sorted(order[i : i + 3]) == [0, 1, 2] for i in range(0, 12, 3))
    assert len({tuple(order[i : i + 3]) for i in range(0, 12, 3)}) > 1
    assert kept.shuffled(5, range(4, 12)) == order[4:]


def test_a_folder_is_filled_once_and_refused_where_it_does_not_fit(
    trainer: EditorTrainer, batches: EditorBatches, share: Share, tmp_path: Path
) -> None:
    folder, calls = tmp_path / "joint", []

    def counted(batch: EditorBatch) -> KnownStates:
        calls.append(batch)
        return trainer.known(batch)

    for expected in (3, 3):
        kept = KeptBatches.open(counted, batches, share, folder, {"seed": 3})
        assert len(calls) == expected
    path = folder / "states-00001.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="are damaged"):
        kept[1]
    with pytest.raises(ConfigError, match="cached with seed 3, this training has 4"):
        KeptBatches.open(trainer.known, batches, share, folder, {"seed": 4})
