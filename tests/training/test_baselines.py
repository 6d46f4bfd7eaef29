"""The training that baselines share, on a toy one: options by editor and preset, resuming, what is refused."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from liveedit.backbones import Backbone
from liveedit.cli import main
from liveedit.config import option
from liveedit.configs import TRAINED, BaselineTrainingConfig, TrainedKind
from liveedit.editors.folder import load_folder, save_folder
from liveedit.training.baselines import Trainee
from liveedit.training.editor_samples import EditorBatch
from liveedit.training.records import STATE, load_state


@dataclass(frozen=True)
class ToyConfig:
    size: int = option(3, "how many numbers are learned")
    backbone: str = option("", "fingerprint of the backbone")


class Toy(Trainee):
    """Learns how long a batch's rows are."""

    def __init__(self, config: ToyConfig, training: BaselineTrainingConfig) -> None:
        super().__init__(nn.Linear(1, config.size), training.seed)
        self.config, self.beginning = config, 2

    def begin(self, batches: Iterable[EditorBatch]) -> None:
        lengths = [batch.ids.shape[1] for batch in batches]
        assert len(lengths) == 2
        nn.init.constant_(self.modules.get_parameter("weight"), sum(lengths) / 100)

    def loss(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        gap = self.modules(torch.ones(1, 1)) - batch.ids.shape[1] / 100 + rng.random()
        return (gap**2).mean(), {"gap": float(gap.detach().abs().mean())}

    def save(self, out: Path) -> None:
        save_folder(out, "toy", self.config, self.modules.state_dict())


def build(backbone: Backbone, architecture: ToyConfig, training: BaselineTrainingConfig) -> Toy:
    return Toy(ToyConfig(architecture.size, backbone.fingerprint), training)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("toy_training")
    module.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_training", module)
    small = {"batch": 2, "steps": 4, "save_every": 2, "log_every": 1, "warmup": 1, "learning_rate": 0.05}
    presets = {
        "paper": (ToyConfig(7), BaselineTrainingConfig(**small)),  # type: ignore[arg-type]
        "embedded": (ToyConfig(2), BaselineTrainingConfig(**small)),  # type: ignore[arg-type]
    }
    monkeypatch.setitem(TRAINED, "toy", TrainedKind(ToyConfig, BaselineTrainingConfig, presets, "toy_training"))


def train(folder: Path, backbone: Path, *more: Any) -> int:
    given = ["train", "--editor", "toy", "--out", folder, "--backbone", backbone, "--device", "cpu", "--json", *more]
    return main([str(part) for part in given])


def test_a_training_that_is_resumed_arrives_at_the_same_weights(
    lively_backbone_folder: Path, lively_backbone: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, lively_backbone_folder, "--validate-every", 2, "--validation-cases", 2) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(whole)}
    config, wanted = load_folder(whole, "toy", ToyConfig, lively_backbone)
    assert config.size == 2
    curve = [json.loads(line) for line in (whole / "curve.jsonl").read_text().splitlines()]
    assert {"loss", "gap"} <= set(curve[0])
    assert "held_out_loss" in curve[1]
    # The learning rate follows the whole length, so a run is cut by an error and not by fewer steps.
    losses, honest = [0], Toy.loss

    def fails(self: Toy, batch: EditorBatch, rng: random.Random) -> Any:
        losses[0] += 1
        loss, seen = honest(self, batch, rng)
        return (loss * float("nan") if losses[0] == 4 else loss), seen

    Toy.loss = fails  # type: ignore[method-assign]
    try:
        assert train(parts, lively_backbone_folder) == 2
    finally:
        Toy.loss = honest  # type: ignore[method-assign]
    assert "not finite" in capsys.readouterr().err
    assert train(parts, lively_backbone_folder) == 2
    assert "--resume" in capsys.readouterr().err
    assert train(parts, lively_backbone_folder, "--resume", "--size", 5) == 2
    assert "begun with size 2" in capsys.readouterr().err
    assert train(parts, lively_backbone_folder, "--resume") == 0
    plain = tmp_path / "plain"
    assert train(plain, lively_backbone_folder) == 0
    found = load_folder(parts, "toy", ToyConfig, lively_backbone)[1]
    straight = load_folder(plain, "toy", ToyConfig, lively_backbone)[1]
    assert all(torch.equal(found[name], straight[name]) for name in straight)
    assert set(wanted) == set(straight)


def test_with_validation_the_best_weights_are_written_and_training_ends_early(
    lively_backbone_folder: Path, lively_backbone: Backbone, tmp_path: Path
) -> None:
    """A rate so high that each step goes past what it aims at."""
    wild = ("--steps", 20, "--learning-rate", 2, "--warmup", 0, "--validate-every", 1, "--validation-cases", 2)
    assert train(tmp_path, lively_backbone_folder, *wild, "--patience", 2) == 0
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    losses = [row["held_out_loss"] for row in rows]
    lowest = losses.index(min(losses))
    assert len(losses) == lowest + 1 + 2 < 20
    best, last = (load_state(tmp_path / "run" / name) for name in ("best-toy.pt", STATE))
    assert (best["step"], last["step"]) == (lowest + 1, len(losses))
    written = load_folder(tmp_path, "toy", ToyConfig, lively_backbone)[1]
    assert all(torch.equal(written[name], best["modules"][name]) for name in written)
    assert not all(torch.equal(written[name], last["modules"][name]) for name in written)


def test_options_are_those_of_the_editor_and_its_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--editor", "toy", "--preset", "paper", "--help"])
    text = capsys.readouterr().out
    assert "how many numbers are learned (default: 7)" in " ".join(text.split())
    assert "--solo-steps" not in text
    for wrong, said in (
        (["--editor", "none", "--out", "x"], "there is no editor 'none'"),
        (["--editor", "toy", "--preset", "none", "--out", "x"], "there is no preset 'none'"),
        (["--editor", "toy", "--batch", "1", "--out", "x"], "batch is 1"),
    ):
        assert main(["train", *wrong]) == 2
        assert said in capsys.readouterr().err
