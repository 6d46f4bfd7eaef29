"""The options of ``train``: presets, the one that fits a backbone, what is given explicitly, and a training by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from transformers import LlavaConfig

from liveedit.cli import build_parser, main, options
from liveedit.config import EditorTrainingConfig
from liveedit.training import loop
from liveedit.types import ConfigError

# The command by which the shipped editor is trained, and all that it has to mean.
SHIPPED = (
    "train --backbone checkpoints/emoji-llava --out DIR --photos cifar10.zip "
    "--annotations vqa_train.json vlkeb_train.json"
)
SHIPPED_ARCHITECTURE = (4, 384, 12, 4, 8, 1.0, "states+tokens", "normed")
SHIPPED_TRAINING = EditorTrainingConfig(
    seed=0, solo_steps=3000, steps=4000, solo_batch=48, routing_cases=8000, routing_batch=192, routing_steps=600,
    batch=24, memory=384, learning_rate=1e-3, joint_rate=0.4, final_rate=0.1, warmup=100, rate_drop_after=0,
    locality_direction="before||after", relative_candidates="2B", absolute_loss=True, relative_loss=True,
    layer_twice=False, chat_template=True, mixed_precision="bf16", recompute=False, accumulation=1, validate_every=0,
    validation_cases=192, patience=0, export="best", calibrate=0.0, calibration_cases=960, save_every=200, log_every=20,
)  # fmt: skip


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """accelerate keeps a precision for the process's life, and another file's tests may have had another."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def parsed(*given: str) -> Any:
    words = ["train", "--out", "somewhere", *given]
    return build_parser("train", words[1:]).parse_args(words)


def architecture_of(args: Any) -> tuple[Any, ...]:
    return (
        args.layer, args.module_dim, args.rank, args.queries, args.heads, args.lora_scale, args.generator_signal,
        args.visual_feature,
    )  # fmt: skip


def backbone_of(folder: Path, width: int) -> str:
    """A folder with the configuration of a LLaVA of this width, and no weights."""
    text = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 32, "num_attention_heads": 8}
    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "num_attention_heads": 2}
    LlavaConfig(vision_config=vision, text_config={"model_type": "llama", **text}).save_pretrained(folder)
    return str(folder)


def test_the_papers_preset_is_the_papers() -> None:
    args = parsed("--preset", "paper")
    assert architecture_of(args) == (21, 1024, 4, 4, 8, 5.0, "states", "plain")
    training = options.config_from(args, EditorTrainingConfig)
    assert (training.batch, training.learning_rate, training.steps) == (8, 1e-4, 200_000)
    assert training.joint_rate == training.final_rate == 1.0 and training.warmup == 0, "nothing but the drop moves the rate"
    assert training.rate_drop_after == 10_000
    assert (training.validate_every, training.save_every, training.export) == (500, 500, "best")
    assert training.patience > 0 and training.recompute
    assert training.batch == build_parser("plan").parse_args(["plan", "x"]).batch, "what `plan` counts with"
    assert (training.solo_batch, training.routing_cases, training.routing_batch) == (8, 2000, 48)
    with pytest.raises(ConfigError, match="there is no preset 'tiny': choose one of embedded, paper"):
        parsed("--preset", "tiny")


def test_the_shipped_editors_command_means_what_it_meant() -> None:
    words = SHIPPED.split()
    for args in (build_parser("train", words[1:]).parse_args(words), parsed(), parsed("--preset", "embedded")):
        assert architecture_of(args) == SHIPPED_ARCHITECTURE
        assert options.config_from(args, EditorTrainingConfig) == SHIPPED_TRAINING


@pytest.mark.parametrize(("width", "wanted"), [(1008, "embedded"), (1024, "paper"), (4096, "paper")])
def test_without_a_preset_the_backbones_width_chooses(tmp_path: Path, width: int, wanted: str) -> None:
    backbone = backbone_of(tmp_path, width)
    args, named = (parsed("--backbone", backbone, *more) for more in ((), ("--preset", wanted)))
    assert vars(args) == vars(named)
    assert vars(parsed(f"--backb={backbone}")) == vars(args), "shortened as it is parsed"
    assert parsed("--editor", "recipe", "--backbone", backbone).batch == {"embedded": 32, "paper": 8}[wanted]


def test_what_is_given_goes_before_the_preset(tmp_path: Path) -> None:
    wide = backbone_of(tmp_path, 4096)
    given = ("--rank", "8", "--batch", "24", "--no-recompute", "--learning-rate", "0.001")
    for chosen in (("--preset", "paper"), ("--backbone", wide)):
        args = parsed(*chosen, *given)
        assert (args.rank, args.batch, args.recompute, args.learning_rate) == (8, 24, False, 1e-3)
        assert (args.layer, args.solo_batch) == (21, 8)
    embedded = parsed("--backbone", wide, "--preset", "embedded")
    assert architecture_of(embedded) == SHIPPED_ARCHITECTURE
    assert options.config_from(embedded, EditorTrainingConfig) == SHIPPED_TRAINING


def test_help_says_which_preset_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for width, name, batch in ((256, "embedded", 24), (2048, "paper", 8)):
        with pytest.raises(SystemExit):
            main(["train", "--backbone", backbone_of(tmp_path, width), "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert f"paper for a backbone of width 1024 or more, otherwise embedded; here {name})" in text
        assert f"their experts are mixed (default: {batch})" in text


def test_a_backbone_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--out", "x", "--backbone", "./nowhere"]) == 2
    assert "there is no backbone at ./nowhere" in capsys.readouterr().err


@pytest.mark.usefixtures("fresh_accelerator")
def test_a_training_by_the_papers_preset_is_resumed_by_the_same_command(
    lively_backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("liveedit.configs.base.SMALL_WIDTH", 64)
    shape = "--layer 1 --module-dim 32 --heads 4 --queries 2"
    steps = "--solo-steps 1 --routing-steps 1 --steps 2 --warmup 1 --log-every 1 --save-every 1 --device cpu"
    sizes = "--batch 2 --solo-batch 2 --routing-cases 4 --routing-batch 3 --validation-cases 2"
    words = ["train", "--backbone", str(lively_backbone_folder), "--out", str(tmp_path)]
    words += f"{shape} {steps} {sizes}".split()
    real, saved = loop.save_state, []

    def interrupted(path: Path, payload: dict[str, object]) -> None:
        real(path, payload)
        saved.append((payload["stage"], payload["step"]))
        if saved[-1] == ("joint", 1):
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", interrupted)
    assert main(words) == 130
    assert main([*words, "--resume", "--preset", "embedded"]) == 2
    seen = capsys.readouterr().err
    assert "training liveedit with the preset paper" in seen
    assert "was begun with rank 4, not 12" in seen
    assert main([*words, "--resume"]) == 0
    assert saved == [("solo", 1), ("routing", 1), ("joint", 1), ("joint", 2)]
    training, config = (json.loads((tmp_path / name).read_text()) for name in ("training.json", "config.json"))
    assert (training["learning_rate"], training["final_rate"], training["recompute"]) == (1e-4, 1.0, True)
    assert (training["batch"], training["validate_every"], training["patience"]) == (2, 500, 20)
    assert (config["rank"], config["module_dim"], config["generator_signal"]) == (4, 32, "states")
