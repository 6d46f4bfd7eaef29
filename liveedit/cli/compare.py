"""``compare``: every editor trained, measured on the same edits and put into one table (the paper's Table 1)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liveedit.cli.benchmarks import WORLD, add_benchmark_options, training_part, training_samples
from liveedit.cli.measuring import DEFAULT_FOLDERS, add_lifelong_options, lifelong_options, open_editor, source_of
from liveedit.cli.options import BACKBONE, EDITOR, add_json_option, add_placement_options, emit, open_backbone, progress
from liveedit.cli.progress import ProgressBar
from liveedit.config import EditorConfig, load_json
from liveedit.types import InputError

if TYPE_CHECKING:
    from liveedit.backbones import Backbone
    from liveedit.data import Benchmark, Sample

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
    from liveedit.evaluation.editors_report import LABELS, editors_text, training_time, write_editors
    from liveedit.evaluation.lifelong import run_lifelong

    order = [*LABELS, *sorted(set(EDITORS) - set(LABELS))]
    chosen = args.editors or [name for name in order if name in EDITORS and name != "unedited"]
    names = [spec.partition("=")[0] for spec in chosen]
    for name in names:
        if name not in EDITORS:
            raise InputError(f"there is no editor {name!r}: choose of {', '.join(EDITORS)}")
        if names.count(name) > 1:
            raise InputError(f"the editor {name} was given twice: compare two trainings of one with `report`")
    # A benchmark that cannot be trained on is refused before anything is loaded.
    cases = training_samples(training_part(args)) if any(_untrained(args, spec) for spec in chosen) else (None, [])
    progress("loading the model")
    backbone = open_backbone(args)
    if "liveedit" in chosen and load_json(EditorConfig, EDITOR / "config.json").backbone != backbone.fingerprint:
        raise InputError(
            f"the shipped LiveEdit is not for {args.backbone}: give one that is as --editors liveedit=FOLDER (the command "
            "`train` makes it), or name the other editors"
        )
    out, results = Path(args.out), []
    for spec, name in zip(chosen, names, strict=True):
        folder = spec.partition("=")[2] or _trained(args, name, backbone, *cases)
        _, editor = open_editor(f"{name}={folder}" if folder else name, backbone)
        with ProgressBar() as show:
            label = LABELS.get(name, name)
            result = run_lifelong(editor, source, options, out / name, name, label, out / "unedited", show)
        results.append({**result, **training_time(Path(folder))} if folder else result)
    files = write_editors(results, out)
    if args.json:
        emit({"files": [str(file) for file in files]})
    else:
        print(editors_text(results))
    return 0


def _place(args: argparse.Namespace, name: str) -> Path:
    """Where a baseline is trained; what was trained on another benchmark is not taken for it."""
    return Path(args.out) / "trained" / (name if args.benchmark == WORLD else f"{name}-{args.benchmark}")


def _untrained(args: argparse.Namespace, spec: str) -> bool:
    """Whether an editor, given as NAME or NAME=FOLDER, is a baseline that has to be trained first."""
    from liveedit.configs import TRAINED

    return spec in TRAINED and not (_place(args, spec) / "training.json").exists()


def _trained(
    args: argparse.Namespace, name: str, backbone: Backbone, benchmark: Benchmark | None, samples: Sequence[Sample]
) -> str:
    """The folder of a trained editor: the shipped one's, or of a baseline that is trained now unless it has been."""
    from liveedit.configs import TRAINED, fitting_preset, preset

    if name not in TRAINED:
        return str(DEFAULT_FOLDERS.get(name, ""))
    out = _place(args, name)
    if _untrained(args, name):
        from liveedit.training.baselines import train_baseline

        progress(f"training {name}")
        architecture, training = preset(TRAINED[name].presets, fitting_preset(backbone.hidden_size))
        train_baseline(
            name, out, args.backbone, architecture, training, args.photos, args.annotations, True,
            benchmark=benchmark, samples=samples, device=args.device,
        )  # fmt: skip
    return str(out)
