"""A baseline's training that is interrupted and resumed arrives at the same weights, statistics included."""

from __future__ import annotations

import random
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from liveedit.configs import TRAINED
from liveedit.configs.lte import LteConfig
from liveedit.configs.mend import MendConfig
from liveedit.configs.recipe import RecipeConfig
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.configs.serac import SeracConfig
from liveedit.editors.folder import WEIGHTS
from liveedit.training.baselines import Trainee, train_baseline
from liveedit.training.editor_samples import EditorBatch
from liveedit.training.records import STATE, load_state

SMALL: dict[str, tuple[Any, dict[str, Any]]] = {
    "lte": (LteConfig(rank=4, retriever_layers=1, retriever_width=16, head_width=8, retrieved=2), {}),
    "mend": (MendConfig(1, 8, 2, 1e-2, above=1, inner=False), {"whitening_batches": 1}),
    "recipe": (RecipeConfig(layer=1, width=32, key_width=16, ordered_tokens=4), {}),
    "retrieval": (RetrievalConfig(layer=1), {}),
    "serac": (SeracConfig(1, 32, 2, 64, head_width=32), {}),
}
# What is gathered beside what is learned: a resumed training has to go on from it.
GATHERED = {"mend": "count", "recipe": "running_mean", "retrieval": "running_mean"}


@pytest.mark.parametrize("name", TRAINED)
def test_a_resumed_training_arrives_at_the_same_weights(
    name: str, lively_backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, more = SMALL[name]
    settings = {"steps": 3, "batch": 2, "warmup": 1, "save_every": 2, "learning_rate": 0.01, "mixed_precision": "no", **more}
    config = replace(TRAINED[name].presets["embedded"][1], **settings)

    def train(out: Path, resume: bool = False) -> dict[str, torch.Tensor]:
        train_baseline(name, out, lively_backbone_folder, architecture, config, resume=resume, device="cpu")
        return load_file(out / WEIGHTS)

    wanted = train(tmp_path / "whole")
    module, seen = import_module(TRAINED[name].module), [0]
    (trainee,) = (v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Trainee) and v is not Trainee)
    honest = trainee.loss

    def interrupted(self: Trainee, batch: EditorBatch, rng: random.Random) -> Any:
        seen[0] += 1
        if seen[0] == 3:
            raise KeyboardInterrupt
        return honest(self, batch, rng)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainee, "loss", interrupted)
        train(tmp_path / "parts")
    assert load_state(tmp_path / "parts" / "run" / STATE)["step"] == 2
    assert not (tmp_path / "parts" / WEIGHTS).exists()
    found = train(tmp_path / "parts", resume=True)
    assert found.keys() == wanted.keys()
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []
    if name in GATHERED:
        assert any(key.endswith(GATHERED[name]) and wanted[key].any() for key in wanted)
