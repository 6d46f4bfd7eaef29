"""The three stages of the editor's training: what each draws, which loss it trains, and what it is validated on.

In the *solo* stage each edit meets its own expert alone, which schools the generator. The *routing* stage trains
the extractors and the sentinel alone, on cached layer states, in batches large enough to be a crowd. In the *joint*
stage the experts of a batch are mixed and all losses join.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from liveedit.training.editor_learner import EditorLearner, LossOf
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import (
    CALIBRATION_STAGE,
    JOINT_STAGE,
    ROUTING_STAGE,
    SOLO_STAGE,
    Batches,
    EditorBatch,
    EditorBatches,
    Mix,
    loader,
    sources,
)
from liveedit.training.kept_batches import KeptBatches
from liveedit.training.layouts import RowLayout
from liveedit.training.loop import Pace, Validation, finished, run_stage
from liveedit.training.processes import Share
from liveedit.training.records import Clock
from liveedit.training.state_cache import StateCache, bytes_of, computed
from liveedit.training.validation import BestWeights, HeldOut
from liveedit.world.photos import PhotoSet

SOLO, ROUTING, JOINT = "solo", "routing", "joint"
ORDER = (SOLO, ROUTING, JOINT)
# Bytes of layer states that are kept in memory; more of them go to a folder.
IN_MEMORY = 8_000_000_000


class Cases(Protocol):
    """What batches are drawn from, by split: "train", and "eval" to validate on."""

    @property
    def layout(self) -> RowLayout:
        """How the backbone's rows are laid out."""

    def batches(self, seed: int, stage: int, count: int, size: int, split: str, pictures: bool = True) -> Batches:
        """``count`` batches of ``size`` edits, by number; without ``pictures`` these may be left blank."""

    def checksum(self, split: str) -> str:
        """Tells apart what the batches of a split are drawn from."""


@dataclass(frozen=True)
class WorldCases:
    """Cases of the emoji world; ``photos`` and ``exchanges`` by split."""

    layout: RowLayout
    vocabulary: Sequence[str]
    photos: dict[str, PhotoSet | None]
    exchanges: dict[str, Sequence[tuple[str, str, str]]]
    mix: Mix = field(default_factory=Mix)

    def batches(
        self, seed: int, stage: int, count: int, size: int, split: str, pictures: bool = True
    ) -> EditorBatches:
        """``count`` batches of ``size`` edits, their pictures drawn or left blank."""
        photos, exchanges = self.photos[split], self.exchanges[split]
        return EditorBatches(
            seed, stage, count, size, self.layout, self.vocabulary, photos, exchanges, split, pictures, self.mix
        )

    def checksum(self, split: str) -> str:
        """Tells apart what the batches of a split are drawn from."""
        return sources(self.photos[split], self.exchanges[split], self.vocabulary)


@dataclass(frozen=True)
class Stage:
    """A stage's loss and this process's batches from a number on; the same of the held-out cases, by numbers."""

    loss_of: LossOf
    batches: Callable[[int], Iterable[Any]]
    held_out_loss: LossOf
    held_out: Callable[[Sequence[int]], Iterable[Any]]
    held_out_count: int


class EditorStages:
    """Runs the stages; ``run`` is the folder of checkpoints, ``cache`` that of layer states (None: in memory, or in
    ``run`` when they are large or several processes compute them).

    ``fresh`` modules have learned nothing yet. ``clock`` is the training's.
    """

    def __init__(
        self,
        trainer: EditorTrainer,
        losses: nn.Module,
        cases: Cases,
        share: Share,
        run: Path,
        cache: Path | None,
        settings: dict[str, Any],
        tensorboard: bool,
        clock: Clock,
        fresh: bool = True,
    ) -> None:
        self.trainer, self.losses, self.cases, self.share = trainer, losses, cases, share
        self.config, self.run, self.settings, self.tensorboard = trainer.config, run, settings, tensorboard
        self.clock, self.fresh = clock, fresh
        # Held-out cases meet no remembered crowd, whose features would differ from validation to validation.
        self.judge = EditorTrainer(trainer.backbone, trainer.modules, replace(trainer.config, memory=0))
        self.cache = cache

    def train(self, name: str, reached: dict[str, Any]) -> None:
        """One stage, from the checkpoint ``reached`` on (empty: from its beginning).

        With validation and ``export = "best"`` it ends with the weights of its lowest validation loss.
        """
        config, modules = self.config, self.trainer.modules
        steps = {SOLO: config.solo_steps, ROUTING: config.routing_steps, JOINT: config.steps}[name]
        best = BestWeights(self.run, name, modules, self.share)
        if not finished(reached, steps):
            stage = self.routing(steps, fresh=self.fresh and not reached) if name == ROUTING else self.generating(name, steps)
            validation = None
            if config.validate_every:
                held_out = HeldOut(
                    name, modules, stage.held_out, stage.held_out_count, stage.held_out_loss, config.seed, self.share
                )
                validation = Validation(held_out.measure, config.validate_every, best.keep, config.patience)
            pace = Pace(
                steps, config.warmup, config.final_rate, config.log_every, config.save_every, config.accumulation,
                config.rate_drop_after,
            )  # fmt: skip
            learner = EditorLearner(
                name, self.losses, self.trainer, stage.loss_of, self.settings, self.share,
                peak=config.learning_rate * (config.joint_rate if name == JOINT else 1.0), clock=self.clock,
            )  # fmt: skip
            run_stage(name, learner, stage.batches, pace, self.run, reached, validation, self.tensorboard)
        if steps and config.validate_every and config.export == "best":
            best.restore()

    def generating(self, name: str, steps: int) -> Stage:
        """The solo or the joint stage: fresh cases in every batch."""
        config, share = self.config, self.share
        number, size = (SOLO_STAGE, config.solo_batch) if name == SOLO else (JOINT_STAGE, config.batch)
        total = steps * config.accumulation * share.count
        count = max(1, config.validation_cases // size)
        train = self.cases.batches(config.seed, number, total, size, "train")
        # Without validation there may be no held-out cases at all.
        held_out = self.cases.batches(config.seed, number, count, size, "eval") if config.validate_every else train
        kept = self.kept() if name == JOINT and config.joint_batches else None

        def batches(first: int) -> Iterator[EditorBatch]:
            numbers = range(share.number(first), total, share.count)
            if kept is None:
                return self.moved(train, numbers)
            return self.moved(kept, kept.shuffled(config.seed, numbers))

        def loss_by(trainer: EditorTrainer) -> LossOf:
            return trainer.joint if name == JOINT else lambda batch, _: trainer.solo(batch)

        return Stage(
            loss_by(self.trainer),
            batches,
            loss_by(self.judge),
            lambda numbers: self.moved(held_out, numbers),
            count,
        )

    def routing(self, steps: int, fresh: bool) -> Stage:
        """The routing stage: cached states of the same cases again and again, drawn anew for every batch.

        A ``fresh`` one begins by starting the extractors from these states.
        """
        config = self.config
        cache = self.states("train", config.routing_cases // config.batch)
        if fresh:
            for extractor in (self.trainer.modules.edit_features, self.trainer.modules.query_features):
                extractor.standardise(*(part.to(self.share.device) for part in cache.sample()))
        held_out = cache
        if config.validate_every:
            held_out = self.states("eval", max(1, config.validation_cases // config.batch))
        return Stage(
            lambda _, rng: self.trainer.routing(cache, rng),
            lambda first: range(first, steps * config.accumulation),
            lambda _, rng: self.judge.routing(held_out, rng),
            lambda numbers: numbers,
            max(1, len(held_out) // config.routing_batch),
        )

    def moved(self, batches: Batches, numbers: Sequence[int]) -> Iterator[EditorBatch]:
        """The batches of these numbers on this process's device."""
        return (batch.to(self.share.device) for batch in loader(batches, numbers))

    def fresh_states(self) -> Iterator[StateCache]:
        """The layer states of cases that no stage has trained on, for calibration, batch by batch."""
        config = self.config
        count = -(-config.calibration_cases // config.batch)
        batches = self.cases.batches(config.seed, CALIBRATION_STAGE, count, config.batch, "train")
        return (StateCache([shard]) for shard in computed(self.trainer.lower, batches, self.share))

    def folder(self, batches: Batches, kinds: int) -> Path | None:
        """Where the states of so many of the four kinds of a batch's rows are kept; None: in memory."""
        if self.cache is not None:
            return self.cache
        # The rows of the first batch, with their answers, are as long as the others.
        backbone, rows = self.trainer.backbone, kinds * len(batches) * self.config.batch
        size = bytes_of(rows, batches[0].ids.shape[1], backbone.hidden_size, backbone.model.dtype)
        # The states that several processes compute meet in a folder.
        return self.run / "states" if self.share.count > 1 or size > IN_MEMORY else None

    def states(self, split: str, count: int) -> StateCache:
        """The layer states of ``count`` batches of cases, from their folder where there is one."""
        batches = self.cases.batches(self.config.seed, ROUTING_STAGE, count, self.config.batch, split)
        folder = self.folder(batches, kinds=3)
        if folder is None:
            return StateCache.compute(self.trainer.lower, batches, self.share)
        return StateCache.open(
            self.trainer.lower, batches, self.share, folder / split, self.settings_of(batches, split)
        )

    def kept(self) -> KeptBatches:
        """The batches of the joint stage with their layer states, from their folder where there is one."""
        count = self.config.joint_batches
        batches = self.cases.batches(self.config.seed, JOINT_STAGE, count, self.config.batch, "train")
        folder = self.folder(batches, kinds=4)
        if folder is None:
            return KeptBatches.compute(self.trainer.known, batches, self.share)
        return KeptBatches.open(
            self.trainer.known, batches, self.share, folder / JOINT, self.settings_of(batches, "train")
        )

    def settings_of(self, batches: Batches, split: str) -> dict[str, Any]:
        """What the layer states of a split's batches depend on."""
        config, modules, first = self.config, self.trainer.modules, batches[0]
        drawn = hashlib.sha256(first.ids.numpy().tobytes() + first.pictures.values["pixel_values"].numpy().tobytes())
        return {
            "backbone": modules.config.backbone,
            "layer": modules.config.layer,
            "mixed_precision": config.mixed_precision,
            "chat_template": config.chat_template,
            "prompt_tokens": "all",  # earlier versions kept the last 40
            "split": split,
            "seed": config.seed,
            "batch": config.batch,
            "cases": len(batches) * config.batch,
            "data": self.cases.checksum(split),
            # The drawing of cases is code: its first batch tells when that has changed.
            "first_batch": drawn.hexdigest()[:16],
        }
