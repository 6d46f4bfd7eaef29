"""Training on two processes: the same modules on both, the same steps as one process that accumulates two batches, and
by the command that the documentation names, stopped and resumed to the same numbers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.commands.launch import launch_command_parser
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file

from liveedit.cli import build_parser, main
from liveedit.config import EditorTrainingConfig
from liveedit.configs import TRAINED
from liveedit.configs.lte import LteConfig
from liveedit.configs.mend import MendConfig
from liveedit.configs.recipe import RecipeConfig
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.configs.serac import SeracConfig
from liveedit.training.baselines import train_baseline
from liveedit.training.editor_learner import EditorLearner, Losses
from liveedit.training.editor_stages import ORDER
from liveedit.training.editor_training import train_editor
from liveedit.training.processes import Share, open_accelerator
from liveedit.training.records import STATE, load_state
from liveedit.types import BackboneError, ConfigError

ROOT = Path(__file__).resolve().parents[2]
# accelerate's --cpu starts one process whatever --num_processes says; --multi_gpu starts as many, on any machine.
LAUNCH = "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 -m liveedit"
# All that a resumed process has to take up: accumulation, its own memory, validation, its share of the cached states.
OPTIONS = (
    "--device cpu --json --layer 1 --module-dim 32 --rank 4 --queries 2 --heads 4 --lora-scale 1 "
    "--solo-steps 1 --solo-batch 2 --routing-cases 4 --routing-batch 3 --routing-steps 3 --steps 3 --batch 2 --memory 8 "
    "--warmup 1 --log-every 1 --save-every 1 --accumulation 2 --validate-every 2 --validation-cases 4"
)
PATIENCE = 300  # seconds for a launched training, which takes about ten

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


# Every baseline that is trained, small.
ALL: dict[str, Any] = {
    **{name: architecture for name, (architecture, _) in GATHERING.items()},
    "lte": LteConfig(rank=2, retriever_layers=1, retriever_width=32),
    "serac": SeracConfig(scope_layers=1, scope_width=64, answer_layers=1, answer_width=64),
}


def stop_and_resume_baselines_here(out: str, backbone: str) -> None:
    """Train each baseline on each of two processes, straight through and stopped within its second step."""
    torch.set_num_threads(1)
    learn = EditorLearner.learn

    def stopped(self: EditorLearner, batch: Any, number: int, last: bool) -> dict[str, float]:
        if last and number == 3:
            raise InterruptedError
        return learn(self, batch, number, last)

    for name, architecture in ALL.items():
        config = TRAINED[name].training(steps=2, batch=2, warmup=1, log_every=1, save_every=1, accumulation=2)
        straight, parts = Path(out) / name / "straight", Path(out) / name / "parts"
        train_baseline(name, straight, backbone, architecture, config, device="cpu")
        EditorLearner.learn = stopped  # type: ignore[method-assign]
        with pytest.raises(InterruptedError):
            train_baseline(name, parts, backbone, architecture, config, device="cpu")
        EditorLearner.learn = learn  # type: ignore[method-assign]
        train_baseline(name, parts, backbone, architecture, config, resume=True, device="cpu")


def test_baselines_on_two_processes_resume_to_the_same_numbers(lively_backbone_folder: Path, tmp_path: Path) -> None:
    assert set(ALL) == set(TRAINED)
    debug_launcher(stop_and_resume_baselines_here, (str(tmp_path), str(lively_backbone_folder)), num_processes=2)
    for name in ALL:
        straight, parts = (load_file(tmp_path / name / part / "editor.safetensors") for part in ("straight", "parts"))
        assert all(torch.equal(straight[tensor], parts[tensor]) for tensor in straight), name
        assert len(losses(tmp_path / name / "parts")) == 2


def launched(out: Path, backbone: Path, *more: str) -> subprocess.Popen[str]:
    """The command in processes of its own, one thread each."""
    words = ["train", "--backbone", str(backbone), "--out", str(out), *OPTIONS.split(), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [sys.executable, "-m", *LAUNCH.split(), *words],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def finish(training: subprocess.Popen[str]) -> Path:
    """Wait for a launched training; returns the folder that it names, once."""
    try:
        said, _ = training.communicate(timeout=PATIENCE)
    finally:
        training.terminate()  # the launcher, if it still runs, ends its processes too
    assert training.returncode == 0
    return Path(json.loads(said)["out"])


def stop_in_routing(training: subprocess.Popen[str], run: Path) -> dict[str, Any]:
    """End a launched training as a scheduler does, once the second stage has a checkpoint; returns the last one."""
    deadline = time.monotonic() + PATIENCE
    try:
        while not (run / STATE).exists() or load_state(run / STATE)["stage"] == ORDER[0]:
            assert training.poll() is None and time.monotonic() < deadline, "no checkpoint of the second stage was seen"
            time.sleep(0.02)
    finally:
        training.terminate()
        training.communicate(timeout=PATIENCE)
    return load_state(run / STATE)


def test_a_launched_training_that_is_stopped_resumes_to_the_same_numbers(
    lively_backbone_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight, parts = (tmp_path / name for name in ("straight", "parts"))
    assert finish(launched(straight, lively_backbone_folder)) == straight
    stopped = stop_in_routing(launched(parts, lively_backbone_folder), parts / "run")
    assert stopped["settings"]["processes"] == 2 and not (parts / "editor.safetensors").exists()
    # Each process remembers what it has met itself: taking up the other's would change what follows.
    first, second = (torch.stack(memory["features"]) for memory in stopped["memory"])
    assert first.shape == second.shape and not torch.equal(first, second)
    alone = ["train", "--backbone", str(lively_backbone_folder), "--out", str(parts), *OPTIONS.split(), "--resume"]
    assert main(alone) == 2
    assert "was begun with processes 2, not 1" in capsys.readouterr().err
    assert finish(launched(parts, lively_backbone_folder, "--resume")) == parts
    weights = [load_file(out / "editor.safetensors") for out in (straight, parts)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    states = [load_state(out / "run" / STATE) for out in (straight, parts)]
    for rank in range(2):
        features = [torch.stack(state["memory"][rank]["features"]) for state in states]
        assert len(features[0]) == 8 and torch.equal(*features)
    curves = [(out / "curve.jsonl").read_text().splitlines() for out in (straight, parts)]
    rows = [[{**json.loads(line), "seconds": 0} for line in curve] for curve in curves]
    assert rows[0] == rows[1] and [row["stage"] for row in rows[0]] == ["solo", *["routing"] * 3, *["joint"] * 3]


def test_the_documented_command_is_one_that_both_parsers_take(lively_backbone_folder: Path) -> None:
    page = (ROOT / "docs" / "backbones.md").read_text().replace("\\\n", " ")
    (line,) = (line for line in page.splitlines() if line.startswith("accelerate launch "))
    launcher, words = (shlex.split(part) for part in line.removeprefix("accelerate launch ").split(" -m liveedit "))
    asked = launch_command_parser().parse_args([*launcher, "-m", "liveedit"])
    assert asked.multi_gpu and asked.num_processes > 1
    # The named backbone is on the hub: another one's configuration is read in its place.
    words[words.index("--backbone") + 1] = str(lively_backbone_folder)
    args = build_parser("train", words[1:]).parse_args(words)
    assert (args.mixed_precision, args.accumulation) == ("bf16", 2)
    assert args.batch * args.accumulation * asked.num_processes == 32, "the page says so"


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
