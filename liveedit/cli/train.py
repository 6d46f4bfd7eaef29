"""``train``: an editor for a frozen backbone; LiveEdit, or with ``--editor`` a baseline that is trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from liveedit.cli import options
from liveedit.cli.benchmarks import add_training_options, training_samples
from liveedit.cli.pretrain import add_data_options
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.configs import TRAINED, BaselineTrainingConfig, fitting_preset, preset
from liveedit.configs.base import EMBEDDED, PAPER, SMALL_WIDTH
from liveedit.configs.liveedit import ARCHITECTURE, PRESETS
from liveedit.types import InputError

NAME = "train"
HELP = "Train an editor for a frozen backbone (resumable; alone or under `accelerate launch -m liveedit train`)."
EXAMPLE = "python -m liveedit train --out runs/editor --backbone checkpoints/emoji-llava --photos cifar10.zip"

LIVEEDIT = "liveedit"


def add_arguments(parser: argparse.ArgumentParser, given: Sequence[str] = ()) -> None:
    """Options of the command; those of configurations are the ones of the editor and preset that ``given`` names.

    Without a preset it is the one that fits the named backbone, whose configuration alone is read.
    """
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--editor", default=LIVEEDIT)
    first.add_argument("--preset")
    first.add_argument("--backbone")
    chosen, _ = first.parse_known_args(list(given))
    if chosen.editor not in (LIVEEDIT, *TRAINED):
        raise InputError(f"there is no editor {chosen.editor!r} to train: choose {', '.join((LIVEEDIT, *TRAINED))}")
    name = _fitting(chosen.backbone) if chosen.preset is None else chosen.preset
    parser.add_argument(
        "--editor",
        default=LIVEEDIT,
        metavar="NAME",
        help=f"which editor to train: {', '.join((LIVEEDIT, *TRAINED))}; --editor NAME --help shows its options "
        f"(default: {LIVEEDIT})",
    )
    add_data_options(parser)
    add_training_options(parser)
    parser.add_argument(
        "--backbone",
        default=str(options.BACKBONE),
        metavar="PATH",
        help="the frozen backbone (default: shipped)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write the curve for TensorBoard (needs its package)"
    )
    parser.add_argument(
        "--preset",
        default=name,
        metavar="NAME",
        help=f"defaults of the architecture and of the training: {EMBEDDED} (for the shipped backbone) or {PAPER} (for "
        f"models of 3 to 8 billion parameters); what is given goes before it (default: {PAPER} for a backbone of width "
        f"{SMALL_WIDTH} or more, otherwise {EMBEDDED}; here {name})",
    )
    if chosen.editor == LIVEEDIT:
        _add_liveedit_options(parser, name)
        return
    kind = TRAINED[chosen.editor]
    architecture, training = preset(kind.presets, name)
    options.add_config_options(parser, kind.training, vars(training))
    options.add_config_options(
        parser.add_argument_group("architecture of the editor"), kind.architecture, vars(architecture), kind.options
    )


def _fitting(backbone: str | None) -> str:
    """The preset that fits a backbone (None: the shipped one, of which nothing has to be read)."""
    if backbone is None:
        return EMBEDDED
    from liveedit.backbones.checkpoint import read_config
    from liveedit.backbones.checks import width_of

    return fitting_preset(width_of(read_config(backbone)))


def _add_liveedit_options(parser: argparse.ArgumentParser, name: str) -> None:
    """One option per field of LiveEdit's training configuration, and the architecture's."""
    parser.add_argument(
        "--init", type=Path, metavar="FOLDER", help="an editor of the same architecture to start from (default: none)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep the layer states of the routing stage and of --joint-batches there and use them again (default: in memory, "
        "or in --out when they take more than 8 GB or several processes train)",
    )
    architecture, training = preset(PRESETS, name)
    options.add_config_options(parser, EditorTrainingConfig, vars(training))
    options.add_config_options(
        parser.add_argument_group("architecture of the editor"), EditorConfig, architecture, ARCHITECTURE
    )


def run(args: argparse.Namespace) -> int:
    """Train, then say where the editor lies."""
    options.progress(f"training {args.editor} with the preset {args.preset}")
    out = _train_liveedit(args) if args.editor == LIVEEDIT else _train_baseline(args)
    from accelerate import PartialState

    processes = PartialState()
    if processes.is_main_process:
        if args.json:
            options.emit({"out": str(out)})
        else:
            print(f"wrote {out}")
    processes.destroy_process_group()
    return 0


def _train_liveedit(args: argparse.Namespace) -> Path:
    config = options.config_from(args, EditorTrainingConfig)
    architecture = options.config_values(args, EditorConfig, ARCHITECTURE)
    # A benchmark that is incomplete is refused before anything is loaded.
    benchmark, samples = training_samples(args)
    from liveedit.training.editor_training import train_editor

    return train_editor(
        args.out,
        args.backbone,
        config,
        architecture,
        args.photos,
        args.annotations,
        args.resume,
        benchmark=benchmark,
        samples=samples,
        init=args.init,
        cache=args.cache,
        device=args.device,
        tensorboard=args.tensorboard,
    )


def _train_baseline(args: argparse.Namespace) -> Path:
    kind = TRAINED[args.editor]
    config: BaselineTrainingConfig = options.config_from(args, kind.training)
    architecture = kind.architecture(**options.config_values(args, kind.architecture, kind.options))
    benchmark, samples = training_samples(args)
    from liveedit.training.baselines import train_baseline

    return train_baseline(
        args.editor,
        args.out,
        args.backbone,
        architecture,
        config,
        args.photos,
        args.annotations,
        args.resume,
        benchmark=benchmark,
        samples=samples,
        device=args.device,
        tensorboard=args.tensorboard,
    )
