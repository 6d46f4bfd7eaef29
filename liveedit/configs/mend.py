"""The configurations of MEND (https://arxiv.org/abs/2110.11309; Chen et al., CVPR 2025, Table 4)."""

from __future__ import annotations

from dataclasses import dataclass

from liveedit.config import option
from liveedit.configs.base import PAPER_PACE, BaselineTrainingConfig, TrainedKind
from liveedit.types import ConfigError


@dataclass(frozen=True)
class MendConfig:
    """The architecture of MEND's hyper-networks."""

    layers: int = option(3, "how many decoder layers have their feed-forward weights edited, the last ones as published")
    rank: int = option(1920, "rank of the hyper-networks' weight matrices (at most the width of what they read)")
    depth: int = option(2, "layers of a hyper-network")
    initial_rate: float = option(1e-4, "learned step size of each weight's update, at the beginning")
    above: int = option(0, "decoder layers above the edited ones, which are left alone")
    inner: bool = option(True, "whether the maps into a feed-forward network are edited as the one out of it is")
    backbone: str = option("", "fingerprint of the backbone that the editor was trained for")

    def __post_init__(self) -> None:
        for name in ("layers", "rank", "depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.above < 0:
            raise ConfigError(f"above is {self.above}: it must not be negative")
        if not self.initial_rate > 0:
            raise ConfigError(f"initial_rate is {self.initial_rate}: it must be positive")

    def check_depth(self, depth: int) -> None:
        """Refuse a backbone of so many decoder layers that none would be left below the edited ones."""
        if not self.layers + self.above < depth:
            raise ConfigError(
                f"layers is {self.layers} and above {self.above}: together they must be below the backbone's {depth}"
            )


@dataclass(frozen=True)
class MendTrainingConfig(BaselineTrainingConfig):
    """How the hyper-networks are trained."""

    edit_weight: float = option(0.1, "weight of the edit's loss beside that of locality, whose weight is 1")
    whitening_batches: int = option(
        0, "batches from which the networks begin as a whitening of what the edited maps read (0: as the identity, as published)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.edit_weight > 0:
            raise ConfigError(f"edit_weight is {self.edit_weight}: it must be positive")
        if self.whitening_batches < 0:
            raise ConfigError(f"whitening_batches is {self.whitening_batches}: it must not be negative")


MEND = TrainedKind(
    MendConfig,
    MendTrainingConfig,
    {
        "paper": (MendConfig(), MendTrainingConfig(learning_rate=1e-4, warmup=1, chat_template=False, **PAPER_PACE)),
        "embedded": (
            MendConfig(layers=1, above=2, inner=False, rank=256, initial_rate=1e-2),
            MendTrainingConfig(
                steps=600, batch=6, learning_rate=3e-4, warmup=40, save_every=10, log_every=5, edit_weight=5.0,
                whitening_batches=6,
            ),
        ),
    },
    "liveedit.training.mend",
)  # fmt: skip
