"""LiveEdit's presets: for the shipped backbone, and for models of the paper's size (CVPR 2025, Section 7.4)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.configs.base import EMBEDDED as EMBEDDED_PRESET
from liveedit.configs.base import PAPER as PAPER_PRESET

# The shipped editor's architecture; EditorConfig's own defaults are the paper's, for a 7B backbone.
EMBEDDED: dict[str, Any] = {
    "layer": 4,
    "module_dim": 384,
    "rank": 12,
    "queries": 4,
    "heads": 8,
    "lora_scale": 1.0,
    "generator_signal": "states+tokens",
    "visual_feature": "normed",
}
# The fields of EditorConfig that a person chooses; the others come from the backbone.
ARCHITECTURE = tuple(EMBEDDED)
PAPER: dict[str, Any] = {f.name: f.default for f in fields(EditorConfig) if f.name in EMBEDDED}
# The joint stage is the paper's: its batch, its rate with the released code's schedule, at most so many steps, every 500
# of which weights are kept where the loss is the lowest so far, and an end when it falls no more. The stages before it are this project's,
# in batches that fit where the joint one's do. EditorTrainingConfig's own defaults are for the shipped backbone: at
# LLaVA-1.5-7B's size its batches take 130 GB of GPU memory and its routing cases, of 15 MB each, 120 GB of states.
PAPER_TRAINING = EditorTrainingConfig(
    solo_batch=8,
    routing_cases=2000,
    routing_batch=48,
    batch=8,
    steps=200_000,
    learning_rate=1e-4,
    joint_rate=1.0,
    final_rate=1.0,
    warmup=0,
    rate_drop_after=10_000,
    recompute=True,
    validate_every=500,
    patience=20,
    save_every=500,
)
PRESETS: dict[str, tuple[dict[str, Any], EditorTrainingConfig]] = {
    EMBEDDED_PRESET: (EMBEDDED, EditorTrainingConfig()),
    PAPER_PRESET: (PAPER, PAPER_TRAINING),
}
