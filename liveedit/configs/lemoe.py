"""LEMoE's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from liveedit.config import option
from liveedit.types import ConfigError


@dataclass(frozen=True)
class LemoeConfig:
    """How LEMoE edits; it is not trained beforehand."""

    layer: int = option(18, "decoder layer whose feed-forward network gets the experts, counted from 0 (at least 1)")
    expert_width: int = option(1024, "hidden width of an expert")
    batch: int = option(16, "edits that share one expert, at most; edits given together are divided evenly")
    steps: int = option(100, "updates of an expert and its key")
    learning_rate: float = option(2e-4, "learning rate of AdamW for experts")
    key_rate: float = option(2e-4, "learning rate of AdamW for keys, which have unit length")
    stop_loss: float = option(0.01, "loss of the edits' answers below which an expert is ready before its last step")
    sharpness: float = option(20.0, "factor of the cosine between an input and a key")
    seed: int = option(0, "seed of a new expert's weights")

    def __post_init__(self) -> None:
        for name in ("layer", "expert_width", "batch", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("learning_rate", "key_rate", "sharpness"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be a positive number")


LEMOE_PRESETS = {
    "paper": LemoeConfig(),
    "embedded": LemoeConfig(layer=3, expert_width=128, learning_rate=2e-3, key_rate=1e-3),
}
