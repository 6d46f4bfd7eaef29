"""Options and steps that the commands of long evaluations share: benchmark, amounts, and which editor."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveedit.cli.benchmarks import PHOTOS, WORLD, read_published, refuse_published_options
from liveedit.cli.options import CHECKPOINTS, EDITOR, progress
from liveedit.configs import REGISTRY, TRAINED
from liveedit.data import BENCHMARKS
from liveedit.types import EditorError, InputError

if TYPE_CHECKING:
    from liveedit.backbones import Backbone
    from liveedit.editors import Editor
    from liveedit.evaluation.benchmarks import Source
    from liveedit.evaluation.plan import LifelongOptions

EDITOR_HELP = (
    f"a registered editor ({', '.join(REGISTRY)}), the folder of a trained one, NAME=FOLDER, or NAME=PRESET for editors that are "
    "not trained (default: the shipped LiveEdit)"
)
DEFAULT_FOLDERS = {"liveedit": EDITOR, **{name: CHECKPOINTS / "baselines" / name for name in TRAINED}}


def add_lifelong_options(
    parser: argparse.ArgumentParser,
    edits: tuple[int, ...] = (1, 10, 100, 1000, 10_000),
    tests_per_run: int = 1000,
    least_tests: int = 200,
) -> None:
    """How much is measured; the defaults are those of :class:`~liveedit.evaluation.plan.LifelongOptions`."""
    parser.add_argument(
        "--edits",
        type=int,
        nargs="+",
        default=list(edits),
        metavar="N",
        help=f"numbers of sequential edits (default: {' '.join(map(str, edits))})",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="S", help="seeds (default: 0 1 2)")
    parser.add_argument(
        "--tests-per-run",
        type=int,
        default=tests_per_run,
        metavar="N",
        help=f"of more edits than these, a random sample of so many, spread over all ages, is tested (default: {tests_per_run})",
    )
    parser.add_argument(
        "--least-tests",
        type=int,
        default=least_tests,
        metavar="N",
        help=f"small numbers of edits are repeated on disjoint samples until so many are tested (default: {least_tests})",
    )
    parser.add_argument(
        "--pool",
        type=int,
        default=0,
        metavar="N",
        help="samples drawn for each seed; give the same to runs that shall be compared (default: as many as needed)",
    )
    parser.add_argument(
        "--timed", type=int, default=20, metavar="N", help="edits and answers timed one by one (default: 20)"
    )
    add_batch_option(parser)


def add_batch_option(parser: argparse.ArgumentParser) -> None:
    """``--batch-size``."""
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        metavar="N",
        help="questions asked at once, 1 to 64; fewer take less memory, and an interrupted evaluation goes on with any "
        "number (default: 64)",
    )


def lifelong_options(args: argparse.Namespace) -> LifelongOptions:
    """The checked amounts."""
    from liveedit.evaluation.plan import LifelongOptions

    return LifelongOptions(
        tuple(args.edits),
        tuple(args.seeds),
        args.tests_per_run,
        args.least_tests,
        args.pool,
        args.timed,
        batch_size=args.batch_size,
    )


def source_of(args: argparse.Namespace) -> Source:
    """The benchmark that the options name."""
    from liveedit.evaluation.benchmarks import FileSource, WorldSource

    if args.benchmark == PHOTOS:
        raise InputError("the benchmark photos is measured by `evaluate`: choose another one here")
    if args.benchmark == WORLD:
        refuse_published_options(args)
        return WorldSource()
    return FileSource(args.benchmark, read_published(args).samples, shows=BENCHMARKS[args.benchmark].shows)


def fitting_source(source: Source, backbone: Backbone) -> Source:
    """The benchmark without the samples that the backbone refuses; says how many these are."""
    fit = source.fitting(backbone)
    tell_too_long(fit.too_long)
    return fit


def tell_too_long(count: int) -> None:
    """Say, if there are any, how many samples the backbone refuses."""
    if count:
        progress(f"leaving {count} samples out whose question or answer is too long for the backbone")


def open_editor(text: str, backbone: Backbone, experts_on: str = "model") -> tuple[str, Editor[Any]]:
    """Name and editor of what :func:`named_editor` understands; ``experts_on`` is LiveEdit's alone."""
    from liveedit.editors import EDITORS, LiveEdit

    name, path = named_editor(text)
    if name == "liveedit":
        return name, LiveEdit.from_pretrained(path, backbone, experts_on)
    return name, EDITORS[name].from_pretrained(path, backbone)


def check_editor(text: str, backbone: str) -> None:
    """Refuse, before anything is loaded, a trained editor that is not there, or any that cannot be for the backbone.

    ``text`` is what :func:`named_editor` understands, ``backbone`` a folder or hub id.
    """
    from liveedit.backbones.checkpoint import read_config
    from liveedit.backbones.checks import width_of
    from liveedit.editors.fit import check_fit, check_layer_of
    from liveedit.editors.folder import CONFIG, configured, folder_config

    name, path = named_editor(text)
    if name in TRAINED:
        folder_config(path, name, TRAINED[name].architecture)
    elif presets := REGISTRY[name].presets:
        model = read_config(backbone)
        check_layer_of(configured(path, name, presets, width_of(model)), model)
    # Editors that are not trained have a preset's name for a path, or a folder with a configuration.
    if name == "liveedit" or (path and (Path(path) / CONFIG).is_file()):
        check_fit(path, backbone)


def named_editor(text: str) -> tuple[str, str]:
    """Name and path of ``NAME``, ``NAME=FOLDER``, ``NAME=PRESET``, or the folder or hub id of a trained editor."""
    from liveedit.editors import EDITORS
    from liveedit.editors.folder import editor_of

    name, _, folder = text.partition("=")
    if name in EDITORS:
        return name, folder or str(DEFAULT_FOLDERS.get(name, ""))
    if Path(text).exists() or "/" in text:
        return editor_of(text), text
    raise EditorError(
        f"there is no editor {text!r}: choose one of {', '.join(EDITORS)}, NAME=FOLDER, or the folder of a trained editor"
    )
