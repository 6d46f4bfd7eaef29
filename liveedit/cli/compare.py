"""``compare``: every editor trained, measured on the same edits and put into one table (the paper's Table 1)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveedit.cli.benchmarks import PHOTOS, WORLD, add_benchmark_options, training_part, training_samples
from liveedit.cli.compared import FLOOR, finished, in_order, timed
from liveedit.cli.jobs import run_beside
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
from liveedit.types import BackboneError, ConfigError, EditorError, InputError

if TYPE_CHECKING:
    from liveedit.data import Benchmark, Sample
    from liveedit.evaluation.benchmarks import Source
    from liveedit.evaluation.plan import LifelongOptions

NAME = "compare"
HELP = "train what has to be trained, measure all editors on the same edits, write the paper's Table 1 and the costs"
EXAMPLE = "python -m liveedit compare --photos cifar10.zip --annotations vqa_train.json --out runs/editors"
DEFAULT_EDITS = (1, 10, 100, 1000)
# What is measured on photographs is trained on the world, which holds photographs too.
OURS = (WORLD, PHOTOS)
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
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="editors at a time, each in a process with its share of the cores; what one says is in --out/logs (default: 1)",
    )
    add_placement_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    options, source = lifelong_options(args), source_of(args)
    options.pool_of(source.size)
    if args.jobs < 1:
        raise InputError(f"--jobs is {args.jobs}: ask for at least 1")
    given = _chosen(args)
    folders = {name: folder or _folder(args, name) for name, folder in given.items()}
    trains = [name for name in given if name in TRAINED and not given[name]]
    untrained = _check_all(args, folders, trains)
    # A benchmark that cannot be trained on is refused before anything is loaded.
    cases = training_samples(training_part(args)) if trains and args.benchmark not in OURS else (None, [])
    _check_trained(args, {name: folders[name] for name in trains if name not in untrained}, cases[1])
    failed = {}
    if args.jobs > 1:
        words = {name: [*args.words, "--jobs", "1", "--editors", _spec(name, given[name])] for name in given}
        failed = run_beside(words, args.jobs, Path(args.out) / "logs")
    else:
        _measure(args, source, options, folders, untrained, cases)
    _tell(args, list(given), failed)
    return 0


def _chosen(args: argparse.Namespace) -> dict[str, str]:
    """The folder that was given for each editor to compare; empty for one that was given by its name alone."""
    from liveedit.editors import EDITORS

    chosen = args.editors or [name for name in in_order() if name != FLOOR]
    names = [spec.partition("=")[0] for spec in chosen]
    for name in names:
        if name not in EDITORS:
            raise InputError(f"there is no editor {name!r}: choose of {', '.join(EDITORS)}")
        if names.count(name) > 1:
            raise InputError(f"the editor {name} was given twice: compare two trainings of one with `report`")
        if name == FLOOR:
            raise InputError("the unedited model stands in every table: leave it out of --editors")
    return {name: spec.partition("=")[2] for spec, name in zip(chosen, names, strict=True)}


def _spec(name: str, folder: str) -> str:
    return f"{name}={folder}" if folder else name


def _check_all(args: argparse.Namespace, folders: Mapping[str, str], trains: Sequence[str]) -> list[str]:
    """Refuse what cannot be for the backbone before anything is loaded; returns the names of those still to be trained."""
    from liveedit.training.baselines import check_baseline, is_trained

    untrained = [name for name in trains if not is_trained(Path(folders[name]))]
    for name, folder in folders.items():
        try:
            if name in untrained:
                check_baseline(args.backbone, _preset(args, name)[0])
            else:
                _check(args, name, folder, shipped=folder == _folder(args, name))
        except (BackboneError, ConfigError, EditorError) as error:
            raise EditorError(f"{name} cannot be compared: {error}") from error
    return untrained


def _check_trained(args: argparse.Namespace, folders: Mapping[str, str], samples: Sequence[Sample]) -> None:
    """Refuse baselines that were trained here before with another preset or on something else."""
    from liveedit.training.baselines import check_trained, sources

    for name, folder in folders.items():
        architecture, training = _preset(args, name)
        check_trained(name, Path(folder), architecture, training, sources(args.photos, args.annotations, samples))


def _measure(
    args: argparse.Namespace,
    source: Source,
    options: LifelongOptions,
    folders: Mapping[str, str],
    untrained: Sequence[str],
    cases: tuple[Benchmark | None, Sequence[Sample]],
) -> None:
    """Train and measure one editor after another in this process."""
    from liveedit.evaluation.editors_report import LABELS
    from liveedit.evaluation.lifelong import run_lifelong

    progress("loading the model")
    backbone = open_backbone(args)
    source = fitting_source(source, backbone)
    options.pool_of(source.size)
    out = Path(args.out)
    for name, folder in folders.items():
        if name in untrained:
            _train(args, name, Path(folder), *cases)
        _, editor = open_editor(_spec(name, folder), backbone)
        with timed(out / name, folder), ProgressBar() as show:
            run_lifelong(editor, source, options, out / name, name, LABELS.get(name, name), out / FLOOR, show)


def _tell(args: argparse.Namespace, names: Sequence[str], failed: Mapping[str, str]) -> None:
    """Write and print the tables of all that is finished, and say what is missing and what failed."""
    from liveedit.evaluation.editors_report import editors_text, write_editors

    out, done = Path(args.out), [name for name in names if name not in failed]
    if done:
        results, missing = finished(out, done[0], lambda name: _folder(args, name))
        files = write_editors(results, out)
        if missing:
            print(f"not in the tables, since {out} does not hold them measured alike: {', '.join(missing)}", file=sys.stderr)
        if args.json:
            emit({"files": [str(file) for file in files], "missing": missing, "failed": dict(failed)})
        else:
            print(editors_text(results))
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise InputError(f"of {len(names)} editors {len(failed)} failed ({reasons}): see {out / 'logs'}, and run it again")


def _folder(args: argparse.Namespace, name: str) -> str:
    """Where an editor lies that was given by its name alone: the shipped one, or a baseline that is trained here.

    What was trained on another benchmark is not taken for it.
    """
    if name not in TRAINED:
        return str(DEFAULT_FOLDERS.get(name, ""))
    return str(Path(args.out) / "trained" / (name if args.benchmark in OURS else f"{name}-{args.benchmark}"))


def _check(args: argparse.Namespace, name: str, folder: str, shipped: bool) -> None:
    """Refuse an editor of another backbone before anything is loaded or trained."""
    try:
        check_editor(f"{name}={folder}", args.backbone)
    except (BackboneError, EditorError) as error:
        if not (shipped and name == "liveedit"):
            raise
        raise EditorError(
            f"the shipped LiveEdit is not for {args.backbone} ({error}): give one that is as --editors liveedit=FOLDER, or "
            "name the other editors"
        ) from error


def _preset(args: argparse.Namespace, name: str) -> Any:
    """A baseline's architecture and training, of the preset that fits the backbone."""
    from liveedit.backbones.checkpoint import read_config
    from liveedit.backbones.checks import width_of

    return preset(TRAINED[name].presets, fitting_preset(width_of(read_config(args.backbone))))


def _train(
    args: argparse.Namespace, name: str, out: Path, benchmark: Benchmark | None, samples: Sequence[Sample]
) -> None:
    """Train a baseline, or go on with a training that was interrupted."""
    from liveedit.training.baselines import train_baseline

    progress(f"training {name}")
    architecture, training = _preset(args, name)
    train_baseline(
        name, out, args.backbone, architecture, training, args.photos, args.annotations, True,
        benchmark=benchmark, samples=samples, device=args.device,
    )  # fmt: skip
