"""RECIPE's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from liveedit.config import option
from liveedit.configs.base import PAPER_PACE, BaselineTrainingConfig, TrainedKind
from liveedit.types import ConfigError


@dataclass(frozen=True)
class RecipeConfig:
    """The architecture of RECIPE."""

    layer: int = option(21, "decoder layer whose states represent edits and questions, counted from 0")
    soft_tokens: int = option(3, "length of an edit's continuous prompt")
    width: int = option(4096, "hidden width of the encoders")
    key_width: int = option(1024, "width of the keys that edits are found by")
    ordered_tokens: int = option(
        0, "the answer's first tokens that the prompt's encoder also reads one by one (0: pooled states alone, as published)"
    )
    backbone: str = option("", "fingerprint of the backbone this editor was trained for")

    def __post_init__(self) -> None:
        for name in ("soft_tokens", "width", "key_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if min(self.layer, self.ordered_tokens) < 0:
            raise ConfigError("layer and ordered_tokens must not be negative")


@dataclass(frozen=True)
class RecipeTrainingConfig(BaselineTrainingConfig):
    """How RECIPE is trained."""

    locality_weight: float = option(1.0, "weight of the locality loss beside reliability and generality")


PAPER = (RecipeConfig(), RecipeTrainingConfig(learning_rate=1e-5, **PAPER_PACE))
# At full weight the locality loss keeps a backbone of this size from heeding its prompts at all.
EMBEDDED = (
    RecipeConfig(layer=3, soft_tokens=8, width=1024, key_width=256, ordered_tokens=8),
    RecipeTrainingConfig(
        steps=400, batch=32, learning_rate=2e-3, final_rate=0.05, mixed_precision="bf16", save_every=50, locality_weight=0.05
    ),
)
RECIPE = TrainedKind(
    RecipeConfig,
    RecipeTrainingConfig,
    {"paper": PAPER, "embedded": EMBEDDED},
    "liveedit.training.recipe",
)
