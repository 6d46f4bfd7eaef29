"""The loop of every training: schedule, curve, validation, checkpoints, exact resume.

What is trained is a :class:`Learner`; batches are numbered from a stage's beginning and every random draw of a
batch is a function of its number, so the checkpoint of a step is all that a resumed run needs to arrive at the
same numbers. A loss or gradient that is not finite stops the run before it reaches the weights, so the last
checkpoint on disk is always a good one.
"""

from __future__ import annotations

import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from liveedit.training.optim import cosine
from liveedit.training.records import STATE, Curve, save_state
from liveedit.types import ConfigError

DROP = 0.1


@dataclass(frozen=True)
class Pace:
    """How long a stage is and how often it writes, in steps.

    A step is one update of the weights, from the gradients of ``accumulation`` batches (of each process). The
    learning rate's factor rises over ``warmup`` steps and falls along a half cosine to ``final_rate``; after the first
    ``drop_after`` steps (0: never) it is a tenth of that.
    """

    steps: int
    warmup: int
    final_rate: float
    log_every: int
    save_every: int
    accumulation: int = 1
    drop_after: int = 0

    def factor(self, step: int) -> float:
        """The learning rate's factor in a step, counted from 0."""
        dropped = 0 < self.drop_after <= step
        return cosine(step, self.steps, self.warmup, self.final_rate) * (DROP if dropped else 1.0)


class Learner(ABC):
    """What a stage trains. With several processes each has one, and all methods are called on all of them."""

    writes: bool = True  # whether this process writes files and draws the progress bar

    @abstractmethod
    def learn(self, batch: Any, number: int, last: bool) -> dict[str, float]:
        """Add the gradient of this process's batch ``number``; ``last`` of the step's.

        Returns the figures of the curve, "loss" among them and first, as means over all processes.
        """

    @abstractmethod
    def update(self, factor: float) -> bool:
        """Update the weights with the learning rate times ``factor`` and clear the gradient.

        Returns False, with the weights as they were, when the gradient is not finite.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, in plain types."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""


@dataclass(frozen=True)
class Validation:
    """Held-out figures every ``every`` steps and at the stage's end.

    ``measure`` gives them, the same on all processes. With ``keep``, "loss" must be among them: it is called when
    that is the lowest so far, and after ``patience`` validations without a lower one the stage ends (0: never).
    """

    measure: Callable[[], dict[str, float]]
    every: int
    keep: Callable[[int, float], None] | None = None
    patience: int = 0


@dataclass
class Watch:
    """The lowest validation loss so far, and the validations since it."""

    loss: float = math.inf
    stale: int = 0
    stopped: bool = False


@dataclass
class Window:
    """Sums of the figures since the curve's last line."""

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, figures: dict[str, float]) -> None:
        """Count one batch in."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def take(self) -> dict[str, float]:
        """The means, rounded for the curve; the window is empty afterwards."""
        means = {name: round(value / self.count, 4) for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means


def run_stage(
    stage: str,
    learner: Learner,
    batches: Callable[[int], Iterable[Any]],
    pace: Pace,
    run: Path,
    reached: dict[str, Any],
    validation: Validation | None = None,
    tensorboard: bool = False,
) -> None:
    """One stage from its first step, or from the checkpoint ``reached``, to its last.

    ``batches`` gives this process's batches from a number on. Checkpoints and the curve go to the folder ``run``.
    Raises :class:`ConfigError` when a loss or a gradient is not finite.
    """
    if finished(reached, pace.steps):
        return
    watch, window, first, saved = Watch(), Window(), 0, 0
    if reached:
        learner.load_state_dict(reached)
        first = saved = int(reached["step"])
        watch, window = Watch(**reached.get("watch", {})), Window(**reached.get("window", {}))
    curve = Curve(run, stage, first, tensorboard) if learner.writes else None
    supply, began = iter(batches(first * pace.accumulation)), time.monotonic()
    bar = tqdm(total=pace.steps, initial=first, desc=stage, file=sys.stderr, mininterval=5, disable=not learner.writes)
    try:
        for step in range(first, pace.steps):
            for number in range(step * pace.accumulation, (step + 1) * pace.accumulation):
                figures = learner.learn(next(supply), number, last=number == (step + 1) * pace.accumulation - 1)
                if not math.isfinite(figures["loss"]):
                    raise not_finite("loss", stage, step, saved)
                window.add(figures)
            if not learner.update(pace.factor(step)):
                raise not_finite("gradient", stage, step, saved)
            done = step + 1
            bar.update()
            row: dict[str, float] = {}
            if done % pace.log_every == 0 or done == pace.steps:
                row = window.take()
                bar.set_postfix(loss=row["loss"])
            watching = False
            if validation is not None and (done % validation.every == 0 or done == pace.steps):
                row |= validate(validation, watch, stage, done, saved)
                watching = validation.keep is not None
            if curve is not None and row:
                curve.add(step, round(time.monotonic() - began, 1), **row)
            # What was kept as the best and the checkpoint that knows of it are written together.
            if done % pace.save_every == 0 or done == pace.steps or watching:
                payload = {
                    "stage": stage,
                    "step": done,
                    "watch": asdict(watch),
                    "window": asdict(window),
                    **learner.state_dict(),
                }
                if learner.writes:
                    save_state(run / STATE, payload)
                saved = done
            if watch.stopped:
                if learner.writes:
                    bar.write(f"{stage}: no lower validation loss in {watch.stale} validations", file=sys.stderr)
                break
    finally:
        bar.close()
        if curve is not None:
            curve.close()


def finished(reached: dict[str, Any], steps: int) -> bool:
    """Whether the checkpoint ``reached`` of a stage (empty: none yet) leaves nothing to do."""
    stopped = Watch(**reached.get("watch", {})).stopped
    return stopped or int(reached.get("step", 0)) >= steps


def validate(validation: Validation, watch: Watch, stage: str, done: int, saved: int) -> dict[str, float]:
    """The held-out figures for the curve; keeps the best weights and decides whether to go on."""
    figures = validation.measure()
    if validation.keep is not None:
        loss = figures["loss"]
        if not math.isfinite(loss):
            raise not_finite("validation loss", stage, done - 1, saved)
        if loss < watch.loss:
            validation.keep(done, loss)
            watch.loss, watch.stale = loss, 0
        else:
            watch.stale += 1
        watch.stopped = 0 < validation.patience <= watch.stale
    return {f"held_out_{name}": round(value, 4) for name, value in figures.items()}


def not_finite(what: str, stage: str, step: int, saved: int) -> ConfigError:
    """The error of a training that has run away."""
    kept = f"the checkpoint of step {saved} is kept" if saved else "no checkpoint of this stage was written yet"
    return ConfigError(
        f"the {what} is not finite at step {step} of stage {stage} ({kept}): lower --learning-rate and --resume"
    )
