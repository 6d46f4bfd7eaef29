"""Training of a baseline editor on a frozen backbone: one stage, resumable, on the same cases as LiveEdit's own.

What differs from editor to editor is a :class:`Trainee`, which each one's module builds. The loop, checkpoints,
validation and processes are those of LiveEdit's training.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liveedit.backbones import load_backbone
from liveedit.backbones.checkpoint import read_config
from liveedit.backbones.checks import layers_of
from liveedit.configs import TRAINED, BaselineTrainingConfig
from liveedit.data import Benchmark, Sample
from liveedit.editors.fit import check_layer_of
from liveedit.editors.folder import folder_config, round_matrices
from liveedit.training.benchmark_samples import samples_checksum
from liveedit.training.crowd import FeatureMemory
from liveedit.training.editor_learner import EditorLearner, Losses
from liveedit.training.editor_samples import CALIBRATION_STAGE, JOINT_STAGE, Batches, EditorBatch, loader
from liveedit.training.editor_training import CHANGEABLE, cases_of, check_settings, place
from liveedit.training.loop import Pace, Validation, run_stage
from liveedit.training.processes import DTYPES, Share, open_accelerator
from liveedit.training.records import (
    CURVE,
    RECORD,
    STATE,
    Clock,
    check_tensorboard,
    load_state,
    read_record,
    save_record,
)
from liveedit.training.validation import BestWeights, HeldOut
from liveedit.types import ConfigError

# Settings of a training that leave what it arrives at as it is.
UNFELT = frozenset({"save_every", "log_every"})


class Trainee(ABC):
    """A baseline editor in training: ``modules`` are trained, ``seed`` is that of its draws."""

    memory: FeatureMemory | None = None
    pictures: bool = True  # whether the loss looks at pictures: drawing them takes most of a batch's time
    beginning: int = 0  # how many batches `begin` is shown

    def __init__(self, modules: nn.Module, seed: int) -> None:
        self.modules, self.seed = modules, seed

    def begin(self, batches: Iterable[EditorBatch]) -> None:  # noqa: B027 - most begin as they were made
        """Set what is trained by ``beginning`` batches of training's cases, before any of it is trained."""

    @abstractmethod
    def loss(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch, a scalar, and figures for the curve; batches lie on the backbone's device."""

    @abstractmethod
    def save(self, out: Path) -> None:
        """Write the trained editor to its folder."""


def train_baseline(
    name: str,
    out: Path,
    backbone_path: str | Path,
    architecture: Any,
    config: BaselineTrainingConfig,
    photos: Path | None = None,
    annotations: Sequence[Path] = (),
    resume: bool = False,
    *,
    benchmark: Benchmark | None = None,
    samples: Sequence[Sample] = (),
    device: str = "auto",
    tensorboard: bool = False,
) -> Path:
    """Train the baseline ``name`` for the backbone at ``backbone_path`` and write it to ``out``; returns ``out``.

    Cases come from the emoji world, or from the ``samples`` of a published ``benchmark``, as in
    :func:`liveedit.training.editor_training.train_editor`. The state of an unfinished run lies in ``out``/run and is continued with ``resume``. With validation, the weights
    of the lowest validation loss are written. Under several processes every one calls this; the main one writes.
    """
    clock = Clock()
    if tensorboard:
        check_tensorboard()
    check_baseline(backbone_path, architecture)
    if benchmark is not None:
        config = replace(config, chat_template=False)
    share = Share(open_accelerator(device, config.mixed_precision, config.accumulation))
    run = out / "run"
    begun = share.told((run / STATE).exists())
    if begun and not resume:
        raise ConfigError(f"{run} holds an unfinished training: pass --resume to continue it, or choose another folder")
    run.mkdir(parents=True, exist_ok=True)
    backbone = place(load_backbone(backbone_path, "cpu", DTYPES[config.mixed_precision]), share)
    cases = cases_of(backbone, config, photos, annotations, benchmark, samples)
    torch.manual_seed(config.seed)
    trainee: Trainee = import_module(TRAINED[name].module).build(backbone, architecture, config)
    fixed = {key: value for key, value in asdict(config).items() if key not in CHANGEABLE}
    settings = {
        "editor": name,
        "backbone": backbone.fingerprint,
        **asdict(architecture),
        **fixed,
        "data": cases.checksum("train"),
        "processes": share.count,
    }
    state = share.told(load_state(run / STATE) if begun and share.writes else {})
    if state:
        check_settings(state, settings, run, (name,))
        trainee.modules.load_state_dict(state["modules"])
        clock.after(state)
    trainee.modules.to(share.device)
    total = config.steps * config.accumulation * share.count
    train = cases.batches(config.seed, JOINT_STAGE, total, config.batch, "train", trainee.pictures)
    if trainee.beginning and not state:
        # Other cases than the first steps': those would meet what has been fitted to them.
        first = cases.batches(config.seed, CALIBRATION_STAGE, trainee.beginning, config.batch, "train", trainee.pictures)
        trainee.begin(_moved(first, range(trainee.beginning), share))
    losses = share.accelerator.prepare_model(Losses(trainee.modules.train().requires_grad_(True)))
    best = BestWeights(run, name, trainee.modules, share)
    validation = None
    if config.validate_every:
        count = max(1, config.validation_cases // config.batch)
        held_out = cases.batches(config.seed, JOINT_STAGE, count, config.batch, "eval", trainee.pictures)
        measure = HeldOut(
            name, trainee.modules, lambda numbers: _moved(held_out, numbers, share), count, trainee.loss, config.seed, share
        ).measure
        validation = Validation(measure, config.validate_every, best.keep, config.patience)
    run_stage(
        name,
        EditorLearner(name, losses, trainee, trainee.loss, settings, share, config.learning_rate, clock),
        lambda first: _moved(train, range(share.number(first), total, share.count), share),
        Pace(config.steps, config.warmup, config.final_rate, config.log_every, config.save_every, config.accumulation),
        run,
        state,
        validation,
        tensorboard,
    )
    if config.validate_every:
        best.restore()
    trainee.modules.eval().requires_grad_(False)
    if config.mixed_precision == "bf16":
        # These are the numbers that it was trained with; the rest was kept for small steps to add up.
        round_matrices(trainee.modules)
    if share.writes:
        trainee.save(out)
        save_record(out, config, clock, sources=sources(photos, annotations, samples))
        shutil.copy(run / CURVE, out / CURVE)
    share.wait()
    share.accelerator.free_memory()
    return out


def check_baseline(backbone_path: Path | str, architecture: Any) -> None:
    """Refuse an architecture that asks for layers which the backbone does not have, from its configuration alone."""
    model = read_config(backbone_path)
    check_layer_of(architecture, model)
    if hasattr(architecture, "check_depth"):
        architecture.check_depth(layers_of(model))


def check_trained(name: str, folder: Path, architecture: Any, config: BaselineTrainingConfig, drawn_from: str) -> None:
    """Refuse the baseline ``name`` in ``folder`` if it was trained otherwise than with these settings.

    ``drawn_from`` is what :func:`sources` says; where the record of an earlier version names none, that is not compared.
    """
    kind, record = TRAINED[name], read_record(folder)
    trained = kind.training(**{f.name: record[f.name] for f in fields(kind.training) if f.name in record})
    found = {**asdict(folder_config(folder, name, kind.architecture)), **asdict(trained)}
    for key, value in {**asdict(architecture), **asdict(config)}.items():
        if key not in UNFELT and key != "backbone" and found[key] != value:
            raise ConfigError(
                f"the {name} in {folder} was trained with {key} {found[key]}, not {value}: name the editor with its folder to "
                "measure it as it is, or choose another folder"
            )
    if record.get("sources", drawn_from) != drawn_from:
        raise ConfigError(
            f"the {name} in {folder} was trained on other photographs, annotations or samples than are given now: give the "
            "same, name the editor with its folder to measure it as it is, or choose another folder"
        )


def is_trained(folder: Path) -> bool:
    """Whether a training in ``folder`` has come to its end."""
    return (folder / RECORD).exists()


def sources(photos: Path | None, annotations: Sequence[Path], samples: Sequence[Sample]) -> str:
    """A checksum of what a training is given: files by what is in them, a benchmark's samples by their words."""
    digest = hashlib.sha256(samples_checksum(samples).encode())
    for path in (photos, *annotations):
        digest.update(b"none" if path is None else hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _moved(batches: Batches, numbers: Sequence[int], share: Share) -> Any:
    """The batches of these numbers on this process's device."""
    return (batch.to(share.device) for batch in loader(batches, numbers))
