"""``compare``: every editor trained, measured on the same edits and put into one table (the paper's Table 1)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from liveedit.cli.benchmarks import add_benchmark_options
from liveedit.cli.measuring import (
    DEFAULT_FOLDERS,
    add_lifelong_options,
    check_editor,
    fitting_source,
    lifelong_options,
    open_editor,
    source_of,
)
from liveedit.cli.options import BACKBONE, add_json_option, add_placement_options, emit, open_backbone, progress
from liveedit.cli.progress import ProgressBar
from liveedit.configs import TRAINED, fitting_preset, preset
from liveedit.types import InputError

NAME = "compare"
HELP = "train what has to be trained, measure all editors on the same edits, write the paper's Table 1 and the costs"
EXAMPLE = "python -m liveedit compare --photos cifar10.zip --annotations vqa_train.json --out runs/editors"
DEFAULT_EDITS = (1, 10, 100, 1000)
# Fewer than `lifelong` tests by default: this measures every editor.
TESTS_PER_RUN, LEAST_TESTS = 200, 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_benchmark_options(parser)
    add_lifelong_options(parser, DEFAULT_EDITS, TESTS_PER_RUN, LEAST_TESTS)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="folder of everything trained and measured; run again to go on"
    )
    parser.add_argument(
        "--editors",
        nargs="+",
        default=[],
        metavar="EDITOR",
        help="registered editors, each as NAME (trained here if it has to be) or NAME=FOLDER (default: all of them)",
    )
    parser.add_argument(
        "--backbone", default=str(BACKBONE), metavar="PATH", help="backbone folder or hub id (default: shipped)"
    )
    add_placement_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    options, source = lifelong_options(args), source_of(args)
    options.pool_of(source.size)
    from liveedit.editors import EDITORS
    from liveedit.evaluation.editors_report import LABELS, editors_text, training_seconds, write_editors
    from liveedit.evaluation.lifelong import run_lifelong
    from liveedit.training.baselines import check_baseline

    order = [*LABELS, *sorted(set(EDITORS) - set(LABELS))]
    chosen = args.editors or [name for name in order if name in EDITORS and name != "unedited"]
    names = [spec.partition("=")[0] for spec in chosen]
    for name in names:
        if name not in EDITORS:
            raise InputError(f"there is no editor {name!r}: choose of {', '.join(EDITORS)}")
        if names.count(name) > 1:
            raise InputError(f"the editor {name} was given twice: compare two trainings of one with `report`")
    given = {name: spec.partition("=")[2] for spec, name in zip(chosen, names, strict=True)}
    folders = {name: folder or _folder(args, name) for name, folder in given.items()}
    untrained = [name for name in names if name in TRAINED and not given[name] and not _is_trained(folders[name])]
    for name, folder in folders.items():
        if name in untrained:
            check_baseline(args.backbone, _preset(args, name)[0])
        else:
            check_editor(f"{name}={folder}", args.backbone)
    progress("loading the model")
    backbone = open_backbone(args)
    source = fitting_source(source, backbone)
    options.pool_of(source.size)
    out, results = Path(args.out), []
    for name, folder in folders.items():
        if name in untrained:
            _train(args, name, Path(folder))
        _, editor = open_editor(f"{name}={folder}", backbone)
        with ProgressBar() as show:
            label = LABELS.get(name, name)
            result = run_lifelong(editor, source, options, out / name, name, label, out / "unedited", show)
        results.append({**result, "training_seconds": training_seconds(Path(folder) / "curve.jsonl")} if folder else result)
    files = write_editors(results, out)
    if args.json:
        emit({"files": [str(file) for file in files]})
    else:
        print(editors_text(results))
    return 0


def _folder(args: argparse.Namespace, name: str) -> str:
    """Where an editor lies that was given by its name alone: the shipped one, or a baseline that is trained here."""
    return str(Path(args.out) / "trained" / name if name in TRAINED else DEFAULT_FOLDERS.get(name, ""))


def _is_trained(folder: str) -> bool:
    return (Path(folder) / "training.json").exists()


def _preset(args: argparse.Namespace, name: str) -> Any:
    """A baseline's architecture and training, of the preset that fits the backbone."""
    from liveedit.backbones.checkpoint import read_config
    from liveedit.backbones.checks import width_of

    return preset(TRAINED[name].presets, fitting_preset(width_of(read_config(args.backbone))))


def _train(args: argparse.Namespace, name: str, out: Path) -> None:
    """Train a baseline, or go on with a training that was interrupted."""
    from liveedit.training.baselines import train_baseline

    progress(f"training {name}")
    architecture, training = _preset(args, name)
    train_baseline(
        name, out, args.backbone, architecture, training, args.photos, args.annotations, True, device=args.device
    )
