"""SERAC's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from liveedit.config import option
from liveedit.configs.base import PAPER_PACE, BaselineTrainingConfig, TrainedKind
from liveedit.types import ConfigError, EditorError


@dataclass(frozen=True)
class SeracConfig:
    """The architecture of SERAC: two small models that read text."""

    scope_layers: int = option(12, "layers of the scope classifier")
    scope_width: int = option(768, "width of the scope classifier")
    answer_layers: int = option(12, "layers of the counterfactual model")
    answer_width: int = option(
        768, "width of the counterfactual model (0: it begins as a copy of the language model's first layers)"
    )
    head_width: int = option(64, "width of an attention head of either")
    between: str = option("\n", "words between an edit and the question")
    backbone: str = option("", "fingerprint of the backbone this editor was trained for")

    def __post_init__(self) -> None:
        for name in ("scope_layers", "answer_layers", "head_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("scope_width", "answer_width"):
            width = getattr(self, name)
            if width < (name == "scope_width") or width % self.head_width:
                raise ConfigError(f"{name} is {width}: it must be a multiple of head_width {self.head_width}")

    def check_depth(self, depth: int) -> None:
        """Refuse a backbone that has fewer decoder layers than the counterfactual model begins as a copy of."""
        if not self.answer_width and self.answer_layers > depth:
            raise EditorError(
                f"answer_layers is {self.answer_layers}, the backbone has {depth} decoder layers to copy: ask for fewer"
            )


# As large as BERT-base and OPT-125M, which the paper takes; both are trained from scratch here.
PAPER = (SeracConfig(), BaselineTrainingConfig(learning_rate=1e-4, **PAPER_PACE))
EMBEDDED = (
    SeracConfig(scope_layers=2, scope_width=128, answer_layers=6, answer_width=0),
    BaselineTrainingConfig(
        steps=200, batch=32, learning_rate=7e-4, final_rate=0.05, warmup=20, mixed_precision="bf16", save_every=50
    ),
)
SERAC = TrainedKind(SeracConfig, BaselineTrainingConfig, {"paper": PAPER, "embedded": EMBEDDED}, "liveedit.training.serac")
