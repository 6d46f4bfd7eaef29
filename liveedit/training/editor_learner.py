"""The learner of an editor's stages: accelerate's backward pass, clipping and AdamW over the editor's modules."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import nn

from liveedit.training.crowd import FeatureMemory
from liveedit.training.loop import Learner
from liveedit.training.processes import Share
from liveedit.training.records import Clock

LossOf = Callable[[Any, random.Random], tuple[torch.Tensor, dict[str, float]]]
MAX_NORM = 1.0
# Gradients in float16 overflow now and then; the scale is halved each time and 20 halvings make it smaller than 1.
MAX_OVERFLOWS = 20


class Trained(Protocol):
    """What a stage trains: modules, the seed of its draws, and what it remembers from batch to batch (or nothing)."""

    @property
    def modules(self) -> nn.Module: ...

    @property
    def seed(self) -> int: ...

    @property
    def memory(self) -> FeatureMemory | None: ...


class Losses(nn.Module):
    """Runs a loss as the forward pass of the modules it trains, which is where accelerate adds its part.

    The frozen backbone is not among the modules: it is neither wrapped nor sent between processes.
    """

    def __init__(self, modules: nn.Module) -> None:
        super().__init__()
        self.trained = modules

    def forward(self, loss_of: LossOf, batch: Any, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch, a scalar, and figures for the curve."""
        return loss_of(batch, rng)


class EditorLearner(Learner):
    """One stage of an editor's training on this process.

    ``losses`` is a :class:`Losses` that accelerate has prepared (once for all stages), ``peak`` the learning rate,
    ``settings`` what a resumed run has to share and ``clock`` that of the training. The gradient of a step is the mean over its batches and over
    all processes: n processes with an accumulation of a take the same batches to a step as one with n * a. What an
    edit meets in its batch stays within the process: the experts it is mixed with, its rivals in routing, and the
    memory of features, which is the only thing in which the two differ.
    """

    def __init__(
        self,
        stage: str,
        losses: nn.Module,
        trained: Trained,
        loss_of: LossOf,
        settings: dict[str, Any],
        share: Share,
        peak: float,
        clock: Clock,
    ) -> None:
        self.stage, self.losses, self.loss_of, self.settings, self.clock = stage, losses, loss_of, settings, clock
        self.modules, self.memory, self.seed = trained.modules, trained.memory, trained.seed
        self.share, self.accelerator, self.writes, self.peak = share, share.accelerator, share.writes, peak
        optimizer = torch.optim.AdamW(self.modules.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.overflows = 0

    def learn(self, batch: Any, number: int, last: bool) -> dict[str, float]:
        """Add the gradient of this process's batch ``number``, whose draws hang on its number among all processes'."""
        rng = random.Random(f"{self.seed} {self.stage} {self.share.number(number)}")
        with nullcontext() if last else self.accelerator.no_sync(self.losses):
            loss, seen = self.losses(self.loss_of, batch, rng)
            self.accelerator.backward(loss)
        return self.share.mean({"loss": float(loss.detach()), **seen})

    def update(self, factor: float) -> bool:
        """One clipped step of AdamW. In float16 a step that overflows is left out, twenty in a row are refused."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak * factor
        self.accelerator.unscale_gradients(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.modules.parameters(), MAX_NORM))
        if not math.isfinite(norm) and self.accelerator.scaler is None:
            return False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.share.pool_statistics(self.modules)
        self.overflows = self.overflows + 1 if self.optimizer.step_was_skipped else 0
        return self.overflows < MAX_OVERFLOWS

    def state_dict(self) -> dict[str, Any]:
        """Modules, optimiser, every process's memory, the settings that a resumed run has to share, and the time."""
        scaler = self.accelerator.scaler
        return {
            "settings": self.settings,
            **self.clock.read(),
            "modules": {name: value.cpu() for name, value in self.modules.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "overflows": self.overflows,
            "memory": self.share.gather(self.memory.state_dict() if self.memory is not None else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the optimiser; modules and memory, which outlive a stage, are restored when a run is resumed."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.overflows = int(state["overflows"])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
