"""Training on two processes: the same modules on both, and the same steps as one process that accumulates two batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file

from liveedit.config import EditorTrainingConfig
from liveedit.configs import TRAINED
from liveedit.configs.mend import MendConfig
from liveedit.configs.recipe import RecipeConfig
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.training.baselines import train_baseline
from liveedit.training.editor_learner import Losses
from liveedit.training.editor_training import train_editor
from liveedit.training.processes import Share, open_accelerator
from liveedit.training.records import STATE
from liveedit.types import BackboneError, ConfigError

SHAPE: dict[str, Any] = {"layer": 1, "module_dim": 32, "rank": 4, "queries": 2, "heads": 4, "lora_scale": 1.0,
                         "generator_signal": "states+tokens"}  # fmt: skip


def small(**changes: Any) -> EditorTrainingConfig:
    """Two steps of each stage in float32; nothing is remembered, since a memory belongs to its process."""
    values = {
        "solo_steps": 2, "solo_batch": 2, "routing_cases": 4, "routing_batch": 3, "routing_steps": 2, "steps": 2,
        "batch": 2, "memory": 0, "warmup": 1, "log_every": 1, "save_every": 2, "mixed_precision": "no",
    }  # fmt: skip
    return EditorTrainingConfig(**{**values, **changes})


@pytest.fixture(autouse=True)
def fresh_processes() -> None:
    """The launched processes are forked, and would inherit that an earlier test's training was alone."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


def remembered() -> list[torch.nn.Module]:
    """Gets the modules of every training that this process begins from now on."""
    torch.set_num_threads(1)
    seen: list[torch.nn.Module] = []
    prepare = Accelerator.prepare_model

    def remember(self: Accelerator, model: Losses, *rest: Any, **more: Any) -> torch.nn.Module:
        seen.append(model.trained)
        return prepare(self, model, *rest, **more)

    Accelerator.prepare_model = remember  # type: ignore[method-assign]
    return seen


def train_here(out: str, backbone: str) -> None:
    """What each of two processes runs: train, then write down the modules that it has."""
    seen = remembered()
    train_editor(Path(out), backbone, small(), dict(SHAPE), device="cpu")
    torch.save(seen[0].state_dict(), Path(out) / f"modules-{Accelerator().process_index}.pt")


# Baselines that gather statistics of what they are shown; in turn in two precisions.
GATHERING: dict[str, tuple[Any, dict[str, Any]]] = {
    "mend": (MendConfig(layers=1, rank=4), {"mixed_precision": "no"}),
    "retrieval": (RetrievalConfig(layer=1), {"mixed_precision": "bf16"}),
    "recipe": (RecipeConfig(layer=1, width=16, key_width=8), {"mixed_precision": "no"}),
}


def train_baselines(out: Path, backbone: str, accumulation: int) -> None:
    """Two steps of each."""
    for name, (architecture, more) in GATHERING.items():
        values = {"steps": 2, "batch": 2, "warmup": 1, "log_every": 1, "save_every": 1, "accumulation": accumulation}
        config = TRAINED[name].training(**values, **more)
        train_baseline(name, out / name, backbone, architecture, config, device="cpu")


def train_baselines_here(out: str, backbone: str) -> None:
    """The same on each of two processes."""
    seen = remembered()
    train_baselines(Path(out), backbone, 1)
    for name, modules in zip(GATHERING, seen, strict=True):
        torch.save(modules.state_dict(), Path(out) / name / f"modules-{Accelerator().process_index}.pt")


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "curve.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one_that_accumulates(lively_backbone_folder: Path, tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    debug_launcher(train_here, (str(two), str(lively_backbone_folder)), num_processes=2)
    ranks = [torch.load(two / f"modules-{rank}.pt", weights_only=True) for rank in range(2)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])
    train_editor(one, lively_backbone_folder, small(accumulation=2), dict(SHAPE), device="cpu")
    # The curve's means are over both batches of a step, whichever process had them.
    assert losses(two) == pytest.approx(losses(one), abs=2e-3) and len(losses(two)) == 6
    states = [torch.load(out / "run" / STATE, weights_only=True) for out in (two, one)]
    assert [state["settings"]["processes"] for state in states] == [2, 1]
    assert [len(state["memory"]) for state in states] == [2, 1]
    for name, value in states[0]["modules"].items():
        assert torch.equal(value, ranks[0][name])
        # A key's bias moves all scores of a query alike: its gradient is rounding alone, which Adam makes as large as any.
        if not name.endswith("k_mlp.bias"):
            assert torch.allclose(value, states[1]["modules"][name], atol=1e-3), name
    # Both sides' states met in a folder, two batches of cases, one from each process.
    assert len(list((two / "run" / "states" / "train").glob("*.safetensors"))) == 2


def test_what_baselines_gather_is_of_all_processes(lively_backbone_folder: Path, tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    debug_launcher(train_baselines_here, (str(two), str(lively_backbone_folder)), num_processes=2)
    train_baselines(one, str(lively_backbone_folder), 2)
    for name in GATHERING:
        ranks = [torch.load(two / name / f"modules-{rank}.pt", weights_only=True) for rank in range(2)]
        alone = torch.load(one / name / "run" / STATE, weights_only=True)["modules"]
        written, kept = load_file(two / name / "editor.safetensors"), torch.load(two / name / "run" / STATE)["modules"]
        gathered = [n for n in alone if n.endswith(("count", "mean", "square", "running_var"))]
        assert len(gathered) >= 4
        for buffer in alone:
            assert torch.equal(ranks[0][buffer], ranks[1][buffer]), (name, buffer)
            assert torch.equal(ranks[0][buffer], written[buffer]) and torch.equal(ranks[0][buffer], kept[buffer])
        for buffer in gathered:
            # One process that accumulates two batches has seen the same ones.
            assert torch.allclose(ranks[0][buffer], alone[buffer], rtol=1e-3, atol=1e-5), (name, buffer)


def test_processes_take_turns() -> None:
    share = Share(open_accelerator("cpu", "no", 1))
    assert [share.number(own) for own in range(3)] == [0, 1, 2]
    assert share.mean({"loss": 0.1}) == {"loss": 0.1} and share.writes
    share.rank, share.count = 1, 3
    assert [share.number(own) for own in range(3)] == [1, 4, 7]


def test_half_precision_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        open_accelerator("cpu", "fp16", 1)


def test_an_impossible_device_is_refused() -> None:
    with pytest.raises(BackboneError, match="device"):
        open_accelerator("warp-drive", "no", 1)


@torch.no_grad()
def test_trainings_of_one_process_may_differ_in_precision() -> None:
    x = torch.eye(3) + 1e-4
    for precision, exact in (("no", True), ("bf16", False), ("bf16", False), ("no", True)):
        accelerator = open_accelerator("cpu", precision, 1)
        model = accelerator.prepare_model(torch.nn.Linear(3, 3, bias=False))
        assert torch.equal(model(x), x @ model.weight.T) == exact
        assert accelerator.mixed_precision == precision
