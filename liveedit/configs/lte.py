"""LTE's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from liveedit.config import option
from liveedit.configs.base import PAPER_PACE, BaselineTrainingConfig, TrainedKind
from liveedit.types import ConfigError


@dataclass(frozen=True)
class LteConfig:
    """The architecture of LTE."""

    rank: int = option(0, "rank of the changes to the language model's linear maps (0: every weight of them, as published)")
    retriever_layers: int = option(6, "layers of the text encoder that finds a question's edit")
    retriever_width: int = option(384, "width of that encoder")
    head_width: int = option(32, "width of an attention head of it")
    before: str = option("[Updated Information]", "words before an edit in the prefix")
    after: str = option(" [Query]", "words between an edit and the question")
    # The defaults of both are those of editors that were trained before there was a choice.
    retrieved: int = option(1, "edits before a question, the nearest ones (3 as published)")
    threshold: bool = option(
        True,
        "whether an edit has to be nearer than a learned threshold, and the original model answers where none is; as "
        "published there is none, and the tuned model answers every question",
    )
    backbone: str = option("", "fingerprint of the backbone this editor was trained for")

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ConfigError(f"rank is {self.rank}: it must not be negative")
        for name in ("retriever_layers", "head_width", "retrieved"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.retriever_width < 1 or self.retriever_width % self.head_width:
            raise ConfigError(f"retriever_width is {self.retriever_width}: it must be a multiple of head_width {self.head_width}")


# The retriever is as large as all-MiniLM-L6, which the original takes; it is trained from scratch here.
PAPER = (LteConfig(retrieved=3, threshold=False), BaselineTrainingConfig(learning_rate=5e-6, **PAPER_PACE))
EMBEDDED = (
    LteConfig(rank=16, retriever_layers=2, retriever_width=128, head_width=64),
    BaselineTrainingConfig(steps=300, batch=16, learning_rate=1.5e-3, final_rate=0.05, warmup=20, mixed_precision="bf16", save_every=25),
)
LTE = TrainedKind(LteConfig, BaselineTrainingConfig, {"paper": PAPER, "embedded": EMBEDDED}, "liveedit.training.lte")
