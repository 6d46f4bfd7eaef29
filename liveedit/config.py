"""Configurations: frozen dataclasses with a help text per field, and strict JSON.

An unknown key, a missing file or an impossible value is an error with a sentence, never a default.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from liveedit.types import ConfigError

T = TypeVar("T")
# Of the world's training cases; the benchmark's have as many crowded pictures.
CROWDED, LOOK_ALIKES = 0.45, 0.33


def option(default: Any, help: str) -> Any:
    """A dataclass field with a default and a help text."""
    return field(default=default, metadata={"help": help})


def help_of(cls: type) -> dict[str, str]:
    """Help text by field name."""
    return {f.name: f.metadata.get("help", "") for f in dataclasses.fields(cls)}


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str = "configuration") -> T:
    """Build ``cls`` from JSON values; unknown keys and wrong types are refused by name."""
    hints = get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - names)
    if unknown:
        raise ConfigError(
            f"the {source} has unknown keys {', '.join(unknown)}: remove them or update LiveEdit Workbench"
        )
    for name, value in values.items():
        wanted = hints[name]
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if not fits or (wanted is not bool and isinstance(value, bool)):
            raise ConfigError(f"the {source} sets {name} to {value!r}, but it must be of type {wanted.__name__}")
    return cls(**values)


def load_json(cls: type[T], path: Path) -> T:
    """Read ``cls`` from a JSON file."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration {path} cannot be read ({error}): check the path and the file") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the configuration {path} is not a JSON object")
    return from_mapping(cls, values, f"configuration {path}")


def save_json(config: Any, path: Path) -> None:
    """Write a configuration as JSON with sorted, readable keys."""
    Path(path).write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8")


def _at_least_one(config: Any, *names: str) -> None:
    """Refuse counts below one by name."""
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}: it must be at least 1")


@dataclass(frozen=True)
class BackbonePlacement:
    """Where and in which precision a backbone is loaded; the arguments of ``load_backbone``."""

    device: str = option("auto", "auto, cpu or cuda")
    dtype: str = option(
        "auto", "type of the backbone's weights: float32, bfloat16 or float16; auto is float32, bfloat16 if quantized"
    )
    device_map: str = option(
        "", "spread the backbone over GPUs, CPU and disk: auto, balanced, balanced_low_0 or sequential (accelerate)"
    )
    quantize: str = option("", "hold the backbone's weights in 8bit or 4bit (needs the package bitsandbytes)")


@dataclass(frozen=True)
class EditorConfig:
    """The architecture of a LiveEdit editor; the defaults follow the paper and its released code."""

    hidden_size: int = option(4096, "width d of the backbone's language model")
    layer: int = option(21, "l_e: experts act on the output of this decoder layer, counted from 0")
    module_dim: int = option(1024, "d_m: width of the editor's attention modules and routing features")
    rank: int = option(4, "r: rank of an expert")
    queries: int = option(4, "k: number of learned queries of a feature extractor")
    heads: int = option(8, "attention heads of the editor's modules")
    lora_scale: float = option(5.0, "an expert's matrices are scaled by 1 / (lora_scale * sqrt(r))")
    sentinel_tokens: int = option(576, "number of visual tokens of the sentinel Theta")
    generator_signal: str = option(
        "states", "what the generator reads: 'states' (paper) or 'states+tokens' (also input embeddings and order)"
    )
    visual_feature: str = option(
        "plain", "key visual features: 'plain' (paper) or 'normed' (each query's part at unit mean square)"
    )
    whole_picture: bool = option(
        False, "visual features are made of the whole picture, whatever is asked (HR* of the paper's Table 2)"
    )
    threshold_slack: float = option(
        0.0, "an expert passes hard routing when its visual similarity exceeds the sentinel's less this (0: as published)"
    )
    max_answer_tokens: int = option(32, "longest target in tokens, stop token included")
    backbone: str = option(
        "", "fingerprint of the backbone this editor was trained for (empty: not known, it takes the one it meets)"
    )

    def __post_init__(self) -> None:
        if self.generator_signal not in ("states", "states+tokens"):
            raise ConfigError(f"generator_signal is {self.generator_signal!r}: choose 'states' or 'states+tokens'")
        if self.visual_feature not in ("plain", "normed"):
            raise ConfigError(f"visual_feature is {self.visual_feature!r}: choose 'plain' or 'normed'")
        _at_least_one(
            self, "hidden_size", "module_dim", "rank", "queries", "heads", "sentinel_tokens", "max_answer_tokens"
        )
        if not 0 < self.lora_scale < math.inf:
            raise ConfigError(f"lora_scale is {self.lora_scale}: it must be a positive number")
        if not math.isfinite(self.threshold_slack):
            raise ConfigError(f"threshold_slack is {self.threshold_slack}: it must be a finite number")
        if self.layer < 0:
            raise ConfigError(f"layer is {self.layer}: decoder layers are counted from 0")
        if self.module_dim % self.heads or self.hidden_size % self.heads:
            raise ConfigError(
                f"heads is {self.heads}: it must divide module_dim {self.module_dim} and hidden_size {self.hidden_size}"
            )


@dataclass(frozen=True)
class PretrainConfig:
    """How the embedded backbone is trained from scratch."""

    seed: int = option(0, "seed of the weights and of every batch")
    width: int = option(256, "width of the vision tower and of the language model")
    vision_layers: int = option(6, "layers of the vision tower")
    text_layers: int = option(6, "layers of the language model")
    vocab_size: int = option(8192, "size of the tokenizer's vocabulary")
    vision_steps: int = option(1250, "steps of the first stage: the vision tower alone, with a label per patch")
    vision_scenes: int = option(28, "scenes in a step of the first stage")
    vision_photos: int = option(80, "photographs in a step of the first stage (half of their patches are dropped)")
    steps: int = option(3850, "steps of the second stage: the whole model, questions packed behind pictures")
    pictures: int = option(32, "pictures in a step of the second stage")
    text_rows: int = option(28, "rows of text-only questions in a step of the second stage")
    text_tokens: int = option(80, "text tokens packed behind one picture")
    copy_share: float = option(0.7, "share of the text-only questions that ask for a phrase from their own context")
    photo_share: float = option(0.15, "share of the pictures of the second stage that are photographs")
    extra_photos: int = option(96, "photographs a step of the second stage that only the vision tower sees")
    dense_weight: float = option(0.3, "weight of the loss per patch in the second stage")
    learning_rate: float = option(2e-3, "peak learning rate")
    weight_decay: float = option(0.02, "weight decay of the matrices")
    warmup: int = option(100, "steps of linear warm-up of each stage")
    save_every: int = option(200, "steps between checkpoints")
    log_every: int = option(20, "steps between lines of the curve")

    def __post_init__(self) -> None:
        if self.width < 64 or self.width % 64:
            raise ConfigError(f"width is {self.width}: it must be a multiple of 64, the width of a head")
        _at_least_one(
            self, "vision_layers", "text_layers", "vocab_size", "pictures", "text_tokens", "save_every", "log_every"
        )


@dataclass(frozen=True)
class EditorTrainingConfig:
    """How the editor is trained on a frozen backbone (paper, Section 4.3)."""

    seed: int = option(0, "seed of the weights and of every batch")
    solo_steps: int = option(3000, "steps in which each edit meets its own expert alone (the generator's schooling)")
    steps: int = option(4000, "steps of the joint stage: experts mixed over the batch, routing losses included")
    solo_batch: int = option(48, "edits in a step of the solo stage")
    routing_cases: int = option(8000, "cases whose layer states are cached for the routing stage")
    routing_batch: int = option(192, "edits in a step of the routing stage")
    routing_steps: int = option(600, "steps of the routing stage")
    batch: int = option(24, "edits in a step of the joint stage; their experts are mixed")
    joint_batches: int = option(
        0, "batches that the joint stage meets again and again, whose layer states are kept (0: ever new ones)"
    )
    crowded: float = option(CROWDED, "share of the world's training edits whose picture shows several things")
    look_alikes: float = option(
        LOOK_ALIKES, "share of the world's locality rows that ask the edit's question of a look-alike picture"
    )
    memory: int = option(384, "recent edits whose visual features join the rivals of hard routing")
    learning_rate: float = option(1e-3, "peak learning rate")
    joint_rate: float = option(0.4, "factor of the learning rate in the joint stage")
    final_rate: float = option(0.1, "factor of the learning rate at the end of a stage")
    warmup: int = option(100, "steps of linear warm-up")
    rate_drop_after: int = option(0, "steps of a stage after which the learning rate is a tenth (0: never; released: 10000)")
    locality_direction: str = option("before||after", "KL of Eq. 11: 'before||after' (paper) or 'after||before'")
    relative_candidates: str = option("2B", "candidates of Eq. 16: '2B' (paper) or 'B' (released)")
    absolute_loss: bool = option(True, "train with l_sr1 (Eq. 15); without it, the paper's ablation '- l_sr1'")
    relative_loss: bool = option(True, "train with l_sr2 (Eq. 16); without it, the paper's ablation '- l_sr2'")
    layer_twice: bool = option(
        False, "apply layer l_e once more to the edited states in training, as the released code does by mistake"
    )
    chat_template: bool = option(
        True, "ask in the backbone's chat template; without it, bare prompts with the benchmarks' answer cue"
    )
    mixed_precision: str = option(
        "bf16", "what the backbone and the products of the editor compute in: 'no' (float32), 'bf16' or 'fp16' (GPU)"
    )
    recompute: bool = option(
        False, "run the layers above l_e a second time in the backward pass instead of keeping their activations"
    )
    accumulation: int = option(
        1, "batches whose gradients make one step; the effective batch is batch x accumulation x processes"
    )
    validate_every: int = option(0, "steps between validations on held-out cases (0: never)")
    validation_cases: int = option(192, "held-out cases of a validation")
    patience: int = option(0, "validations without a lower loss after which a stage ends (0: never)")
    export: str = option("best", "weights that a stage ends with when it validates: 'best' or 'last'")
    calibrate: float = option(
        0.0,
        "set the slack of hard routing's threshold at the end, so that of fresh cases, reworded and redrawn, this share "
        "finds its edit (0: leave the threshold to the sentinel)",
    )
    calibration_cases: int = option(960, "cases that the slack is set on")
    save_every: int = option(200, "steps between checkpoints")
    log_every: int = option(20, "steps between lines of the curve")

    def __post_init__(self) -> None:
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"mixed_precision is {self.mixed_precision!r}: choose 'no', 'bf16' or 'fp16'")
        if self.export not in ("best", "last"):
            raise ConfigError(f"export is {self.export!r}: choose 'best' or 'last'")
        if self.patience and not self.validate_every:
            raise ConfigError(f"patience is {self.patience}, but nothing is validated: set validate_every")
        if self.locality_direction not in ("before||after", "after||before"):
            raise ConfigError(
                f"locality_direction is {self.locality_direction!r}: choose 'before||after' or 'after||before'"
            )
        if self.relative_candidates not in ("2B", "B"):
            raise ConfigError(f"relative_candidates is {self.relative_candidates!r}: choose '2B' or 'B'")
        if not 0 <= self.calibrate < 1:
            raise ConfigError(f"calibrate is {self.calibrate}: it must be a share below 1, or 0")
        _at_least_one(
            self, "solo_batch", "accumulation", "validation_cases", "calibration_cases", "save_every", "log_every"
        )
        for name in ("batch", "routing_batch"):
            if getattr(self, name) < 2:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}: it must be at least 2, the losses compare an edit with others"
                )
        for name in ("crowded", "look_alikes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be a share, 0 to 1")
        for name in ("joint_batches", "rate_drop_after"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must not be negative")
        if self.routing_steps and self.routing_cases < self.batch:
            raise ConfigError(
                f"routing_cases is {self.routing_cases}: it must be at least {self.batch}, one batch, or routing_steps 0"
            )
        if not self.solo_steps + self.routing_steps + self.steps and not self.calibrate:
            raise ConfigError("all three stages have 0 steps: set solo_steps, routing_steps, steps or calibrate")
