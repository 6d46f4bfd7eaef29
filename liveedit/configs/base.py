"""What the configurations of baseline editors share: presets by name, and the settings of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from liveedit.config import option
from liveedit.types import ConfigError

T = TypeVar("T")
PAPER, EMBEDDED = "paper", "embedded"
SMALL_WIDTH = 1024  # backbones narrower than this are in the embedded one's class


@dataclass(frozen=True)
class BaselineTrainingConfig:
    """How a baseline editor is trained on a frozen backbone; presets set what its paper says."""

    seed: int = option(0, "seed of the weights and of every batch")
    steps: int = option(1000, "updates of the weights")
    batch: int = option(16, "edits in a step")
    learning_rate: float = option(1e-4, "peak learning rate of Adam")
    final_rate: float = option(0.1, "factor of the learning rate at the end")
    warmup: int = option(50, "steps of linear warm-up")
    chat_template: bool = option(
        True, "ask in the backbone's chat template; without it, bare prompts with the benchmarks' answer cue"
    )
    mixed_precision: str = option("no", "what is computed in: 'no' (float32), 'bf16' or 'fp16' (GPU)")
    accumulation: int = option(1, "batches whose gradients make one step")
    validate_every: int = option(0, "steps between validations on held-out cases (0: never)")
    validation_cases: int = option(96, "held-out cases of a validation")
    patience: int = option(0, "validations without a lower loss after which training ends (0: never)")
    save_every: int = option(100, "steps between checkpoints")
    log_every: int = option(20, "steps between lines of the curve")

    def __post_init__(self) -> None:
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"mixed_precision is {self.mixed_precision!r}: choose 'no', 'bf16' or 'fp16'")
        if self.patience and not self.validate_every:
            raise ConfigError(f"patience is {self.patience}, but nothing is validated: set validate_every")
        for name in ("steps", "accumulation", "validation_cases", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.batch < 2:
            raise ConfigError(f"batch is {self.batch}: it must be at least 2, an edit is compared with others")


# What the paper says of every editor that is trained (Section 7.4): at most so many steps, every 500 of which weights are
# kept where the loss is the lowest so far, and an end when it falls no more.
PAPER_PACE: dict[str, Any] = {
    "steps": 200_000,
    "batch": 8,
    "final_rate": 1.0,
    "mixed_precision": "bf16",
    "validate_every": 500,
    "patience": 20,
    "save_every": 500,
}


@dataclass(frozen=True)
class TrainedKind:
    """A baseline that is trained: its configurations, their presets, and the module that trains it.

    ``presets`` are pairs of an architecture and a training, by name. ``module`` defines
    ``build(backbone, architecture, training) -> Trainee`` (see :mod:`liveedit.training.baselines`).
    """

    architecture: type
    training: type
    presets: Mapping[str, tuple[Any, Any]]
    module: str

    @property
    def options(self) -> tuple[str, ...]:
        """The fields of the architecture that a person chooses; the backbone's fingerprint is not."""
        return tuple(f.name for f in fields(self.architecture) if f.name != "backbone")


@dataclass(frozen=True)
class Registered:
    """An editor in the registry: its class as ``package.module.Class``, so that its name costs no import.

    ``trained`` says how one is trained, ``presets`` are the configurations of one that is not.
    """

    kind: str
    trained: TrainedKind | None = None
    presets: Mapping[str, Any] = field(default_factory=dict)


def preset(presets: Mapping[str, T], name: str) -> T:
    """The configuration of that name."""
    if name not in presets:
        raise ConfigError(f"there is no preset {name!r}: choose one of {', '.join(presets)}")
    return presets[name]


def fitting_preset(width: int) -> str:
    """The preset for a backbone of this width: ``embedded`` below 1,024, ``paper`` otherwise."""
    return EMBEDDED if width < SMALL_WIDTH else PAPER
