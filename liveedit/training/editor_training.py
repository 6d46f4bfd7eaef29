"""Training of LiveEdit on a frozen backbone (Chen et al., CVPR 2025, Section 4.3): set up, resume, export.

Alone or under ``accelerate launch``. The stages are in :mod:`liveedit.training.editor_stages`, the losses in
:mod:`liveedit.training.editor_losses`, the loop in :mod:`liveedit.training.loop`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from liveedit.backbones import Backbone, load_backbone, tensors_digest
from liveedit.backbones.checkpoint import read_config
from liveedit.backbones.checks import layers_of, width_of
from liveedit.config import EditorConfig, EditorTrainingConfig, load_json
from liveedit.configs import BaselineTrainingConfig
from liveedit.data import Benchmark, Sample
from liveedit.data.annotations import read_exchanges
from liveedit.editors import LiveEdit
from liveedit.editors.fit import check_architecture
from liveedit.editors.folder import CONFIG
from liveedit.editors.hub import editor_file
from liveedit.editors.liveedit.pretrained import load_modules
from liveedit.experts.modules import LiveEditModules
from liveedit.training.benchmark_samples import BenchmarkCases
from liveedit.training.calibration import calibrated_slack
from liveedit.training.editor_learner import Losses
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import Mix
from liveedit.training.editor_stages import ORDER, Cases, EditorStages, WorldCases
from liveedit.training.layouts import RowLayout
from liveedit.training.processes import DTYPES, Share, open_accelerator
from liveedit.training.records import CURVE, STATE, Clock, check_tensorboard, load_state, read_record, save_record
from liveedit.types import ConfigError
from liveedit.world.cases import default_vocabulary
from liveedit.world.photos import PhotoSet

# What may change when a training is resumed: how long, how fast and how often. All else decides what is drawn and
# what a checkpoint means.
CHANGEABLE = frozenset(
    {
        "solo_steps",
        "routing_steps",
        "steps",
        "learning_rate",
        "joint_rate",
        "final_rate",
        "warmup",
        "rate_drop_after",
        "validate_every",
        "patience",
        "export",
        "calibrate",
        "calibration_cases",
        "recompute",
        "save_every",
        "log_every",
    }
)
# Settings that the checkpoints of earlier versions do not name: such a training may be resumed all the same.
LATER = frozenset({"init", "retrieved", "threshold"})


def train_editor(
    out: Path,
    backbone_path: Path | str,
    config: EditorTrainingConfig,
    architecture: dict[str, Any],
    photos: Path | None = None,
    annotations: Sequence[Path] = (),
    resume: bool = False,
    *,
    benchmark: Benchmark | None = None,
    samples: Sequence[Sample] = (),
    init: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    tensorboard: bool = False,
) -> Path:
    """Train an editor for the backbone at ``backbone_path`` and write it to ``out``; returns ``out``.

    ``architecture`` overrides fields of :class:`EditorConfig`; width, sentinel length and fingerprint come from
    the backbone. Cases come from the emoji world, with ``photos`` and ``annotations`` where they are given, or from
    the ``samples`` of a published ``benchmark``, asked bare as it asks them. The state of an unfinished run lies in
    ``out``/run and is continued with ``resume``. ``init`` is an editor's folder to start from: one of the same
    architecture, be it for another backbone of this width; a resumed run has to name it again. ``cache`` is a folder for the layer states of the routing
    stage. With validation, one photograph in fifty, or the samples of one thing in twenty of a benchmark, are held
    back from training. Under several processes every one calls this; the main one alone writes ``out``.
    """
    clock = Clock()
    if tensorboard:
        check_tensorboard()
    check_sizes(backbone_path, architecture, config, init)
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
    editor = new_editor(backbone, architecture, cases.layout.tokens, config)
    given = None if init is None else started_from(init, editor.config)
    if given is not None:
        editor.modules.load_state_dict(given.state_dict())
    modules = editor.modules.train().requires_grad_(True)
    trainer = EditorTrainer(backbone, modules, config)
    settings = settings_of(editor.config, config, cases, share, given)
    state = share.told(load_state(run / STATE) if begun and share.writes else {})
    if state:
        check_settings(state, settings, run)
        modules.load_state_dict(state["modules"])
        trainer.memory.load_state_dict(state["memory"][share.rank], share.device)
        clock.after(state)
    elif init is not None:
        clock.after(read_record(init))
    losses = share.accelerator.prepare_model(Losses(modules))
    stages = EditorStages(trainer, losses, cases, share, run, cache, settings, tensorboard, clock, fresh=init is None)
    for stage in ORDER[ORDER.index(state["stage"]) if state else 0 :]:
        stages.train(stage, state if state.get("stage") == stage else {})
    modules.eval().requires_grad_(False)
    if config.calibrate:
        slack = calibrated_slack(modules, stages.fresh_states(), config.calibrate, share.device)
        editor = LiveEdit(backbone, replace(editor.config, threshold_slack=slack), modules)
    if share.writes:
        editor.save_pretrained(out)
        save_record(out, config, clock)
        if (run / CURVE).exists():
            shutil.copy(run / CURVE, out / CURVE)
    share.wait()
    share.accelerator.free_memory()
    return out


def check_sizes(
    backbone_path: Path | str, architecture: dict[str, Any], config: EditorTrainingConfig, init: Path | None = None
) -> None:
    """Refuse sizes and layers that the backbone cannot have, from its configuration alone.

    So is an ``init`` of another architecture; the length of its sentinel is compared once the backbone is loaded.
    """
    model = read_config(backbone_path)
    editor = EditorConfig(**{**architecture, "hidden_size": width_of(model)})
    check_architecture(editor, model)
    if config.layer_twice and editor.layer == layers_of(model) - 1:
        raise ConfigError(f"layer_twice needs a layer above layer {editor.layer}, the last: choose a lower one")
    if init is not None:
        begun = load_json(EditorConfig, editor_file(init, CONFIG))
        check_alike(init, begun, replace(editor, sentinel_tokens=begun.sentinel_tokens))


def place(backbone: Backbone, share: Share) -> Backbone:
    """The frozen backbone on this process's device."""
    backbone.model.to(share.device)
    if share.device.type == "cpu":
        # As in pre-training: on rows this short plain attention is several times faster on a CPU.
        backbone.model.set_attn_implementation("eager")
    return backbone


def cases_of(
    backbone: Backbone,
    config: EditorTrainingConfig | BaselineTrainingConfig,
    photos: Path | None,
    annotations: Sequence[Path],
    benchmark: Benchmark | None,
    samples: Sequence[Sample],
) -> Cases:
    """What batches are drawn from: a published benchmark's samples, or the world."""
    if benchmark is None:
        return read_cases(backbone, config, photos, annotations)
    return BenchmarkCases.of(backbone, benchmark, samples, config)


def read_cases(
    backbone: Backbone,
    config: EditorTrainingConfig | BaselineTrainingConfig,
    photos: Path | None,
    annotations: Sequence[Path],
) -> WorldCases:
    """What the world's batches are drawn from; photographs are held back, of the archive's training split, only to validate."""
    train = PhotoSet(photos, "train") if photos is not None else None
    held_back: PhotoSet | None = None
    if train is not None and config.validate_every:
        train, held_back = train.hold_back()
    return WorldCases(
        RowLayout(backbone, config.chat_template),
        default_vocabulary(),
        {"train": train, "eval": held_back},
        {"train": read_exchanges(annotations), "eval": read_exchanges(annotations, "eval")},
        Mix(config.crowded, config.look_alikes) if isinstance(config, EditorTrainingConfig) else Mix(),
    )


def new_editor(backbone: Backbone, architecture: dict[str, Any], tokens: int, config: EditorTrainingConfig) -> LiveEdit:
    """The untrained editor, from the seed."""
    given = {"sentinel_tokens": tokens, **architecture}
    fixed = {"hidden_size": backbone.hidden_size, "backbone": backbone.fingerprint}
    editor_config = EditorConfig(**{**given, **fixed})
    torch.manual_seed(config.seed)
    return LiveEdit(backbone, editor_config)


def started_from(folder: Path, config: EditorConfig) -> LiveEditModules:
    """The modules of the editor in ``folder``, checked to be of the architecture of ``config``; its slack is left behind."""
    modules = load_modules(folder)
    check_alike(folder, modules.config, config)
    return modules


def check_alike(folder: Path, begun: EditorConfig, config: EditorConfig) -> None:
    """Refuse to start from the editor of configuration ``begun`` when its architecture is not that of ``config``."""
    differing = [
        f.name
        for f in fields(config)
        if f.name not in ("backbone", "threshold_slack") and getattr(begun, f.name) != getattr(config, f.name)
    ]
    if differing:
        raise ConfigError(
            f"the editor in {folder} differs in {', '.join(differing)}: start from one of the same architecture, or "
            "give its values as options"
        )


def settings_of(
    architecture: EditorConfig, config: EditorTrainingConfig, cases: Cases, share: Share, init: LiveEditModules | None
) -> dict[str, Any]:
    """What two runs must share for one to continue the other; ``init`` are the modules that they start from."""
    fixed = {name: value for name, value in asdict(config).items() if name not in CHANGEABLE}
    return {
        **asdict(architecture),
        **fixed,
        "data": cases.checksum("train"),
        "processes": share.count,
        "init": None if init is None else tensors_digest(init.state_dict()),
    }


def check_settings(state: dict[str, Any], settings: dict[str, Any], run: Path, stages: Sequence[str] = ORDER) -> None:
    """Refuse to continue a training with other settings than it was begun with."""
    begun = state.get("settings")
    if begun is None or state.get("stage") not in stages:
        raise ConfigError(f"{run} holds no training of an editor by this version: choose another folder")
    for name, value in settings.items():
        if begun.get(name) != value and (name in begun or name not in LATER):
            raise ConfigError(
                f"the training in {run} was begun with {name} {begun.get(name)}, not {value}: --resume with the "
                "settings it was begun with, or choose another folder"
            )
