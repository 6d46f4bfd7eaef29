"""Validation of the editor's stages on held-out cases, and the weights of the lowest validation loss.

Held-out cases ask in wordings that training never uses, on sets of objects and pairings with new answers that it
never draws, on photographs held back from it, and in annotations kept from it. They are the same at every
validation, and no memory of features takes part, so that a stage's validation losses can be compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liveedit.training.editor_learner import LossOf
from liveedit.training.processes import Share
from liveedit.training.records import load_state, save_state


class HeldOut:
    """The mean figures of ``count`` held-out batches; processes share them out.

    ``batches`` gives those of the given numbers, ``loss_of`` the loss of one as in training, but with ``modules`` as
    they are in use: what they gather while they are trained stays as it is.
    """

    def __init__(
        self,
        stage: str,
        modules: nn.Module,
        batches: Callable[[Sequence[int]], Iterable[Any]],
        count: int,
        loss_of: LossOf,
        seed: int,
        share: Share,
    ) -> None:
        self.stage, self.modules, self.batches, self.count = stage, modules, batches, count
        self.loss_of, self.seed, self.share = loss_of, seed, share

    def measure(self) -> dict[str, float]:
        """ "loss" and the stage's other figures, the same on every process."""
        self.modules.eval()
        try:
            return self._measured()
        finally:
            self.modules.train()

    @torch.no_grad()
    def _measured(self) -> dict[str, float]:
        mine = list(range(self.share.rank, self.count, self.share.count))
        # A process without a batch of its own takes part with one that does not count.
        numbers = mine or [0]
        sums: dict[str, float] = {}
        for number, batch in zip(numbers, self.batches(numbers), strict=True):
            rng = random.Random(f"{self.seed} {self.stage} held out {number}")
            with self.share.accelerator.autocast():
                loss, seen = self.loss_of(batch, rng)
            for name, value in {"loss": float(loss), **seen}.items():
                sums[name] = sums.get(name, 0.0) + value / len(numbers)
        return self.share.mean(sums, weight=len(mine))


class BestWeights:
    """The modules as they were at a stage's lowest validation loss, in a file beside the last checkpoint."""

    def __init__(self, run: Path, stage: str, modules: nn.Module, share: Share) -> None:
        self.path = run / f"best-{stage}.pt"
        self.stage, self.modules, self.share = stage, modules, share

    def keep(self, step: int, loss: float) -> None:
        """Replace what was kept by the modules as they are after ``step`` steps."""
        if self.share.writes:
            weights = {name: value.cpu() for name, value in self.modules.state_dict().items()}
            save_state(self.path, {"stage": self.stage, "step": step, "loss": loss, "modules": weights})

    def restore(self) -> None:
        """Put what was kept back into the modules, on every process; nothing when nothing was kept."""
        kept = self.share.told(load_state(self.path) if self.share.writes and self.path.exists() else None)
        if kept is not None:
            self.modules.load_state_dict(kept["modules"])
