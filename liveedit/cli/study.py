"""``study``: the paper's studies, each as JSON, tables and figures in one folder."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveedit.cli.benchmarks import add_benchmark_options
from liveedit.cli.measuring import (
    add_lifelong_options,
    check_editor,
    fitting_source,
    lifelong_options,
    open_editor,
    source_of,
)
from liveedit.cli.options import (
    BACKBONE,
    EDITOR,
    add_config_options,
    add_json_option,
    add_placement_options,
    config_values,
    emit,
    open_backbone,
    progress,
)
from liveedit.cli.progress import ProgressBar
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.configs.liveedit import ARCHITECTURE, EMBEDDED
from liveedit.types import InputError

if TYPE_CHECKING:
    from liveedit.backbones import Backbone
    from liveedit.editors import Editor

NAME = "study"
HELP = "run one of the paper's studies: routing, experts, ablation, size, queries, layer, twice, editors, conflicts"
EXAMPLE = "python -m liveedit study layer --train --edits 100 --seeds 0 --out runs/layer"
CONFLICTS = "conflicts"
DEFAULT_EDITS = (1000,)
# A quarter of an hour for each editor on two cores.
SCHEDULE = {"solo_steps": 200, "routing_cases": 2400, "routing_steps": 120, "steps": 100, "memory": 96, "warmup": 20}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "study",
        choices=("routing", "experts", "ablation", "size", "queries", "layer", "twice", "editors", CONFLICTS),
        metavar="STUDY",
        help="routing (strategies), experts (generated or fitted), ablation (Table 2), size (d_m and r), queries (k), "
        "layer (l_e), twice (l_e applied twice in training), editors (any trained ones), conflicts (contradictory, "
        "repeated and noisy edits)",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of everything; run again to go on")
    parser.add_argument(
        "--editor",
        default=str(EDITOR),
        metavar="EDITOR",
        help="the trained LiveEdit whose variants are compared; for conflicts any editor (default: shipped)",
    )
    parser.add_argument(
        "--editors",
        nargs="+",
        default=[],
        metavar="LABEL=FOLDER",
        help="more trained editors to compare",
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="train the editors that the study compares, in the folder of --out (resumable); --photos and "
        "--annotations are their data besides the emoji world",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="LABEL", help="of the editors to train only these (default: all)"
    )
    parser.add_argument(
        "--trained",
        metavar="FOLDER",
        help="folder of the trained editors; studies that are given the same one share those that are trained alike "
        "(default: trained, in the folder of --out)",
    )
    add_config_options(
        parser.add_argument_group("architecture of the compared editors, where the study does not vary it"),
        EditorConfig,
        EMBEDDED,
        ARCHITECTURE,
    )
    add_config_options(
        parser.add_argument_group("training of the compared editors"),
        EditorTrainingConfig,
        SCHEDULE,
        tuple(SCHEDULE),
    )
    parser.add_argument(
        "--backbone", default=str(BACKBONE), metavar="PATH", help="backbone folder or hub id (default: shipped)"
    )
    add_placement_options(parser)
    add_benchmark_options(parser)
    add_lifelong_options(parser, DEFAULT_EDITS)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    options, source = lifelong_options(args), source_of(args)
    trained = _labelled(args.editors)
    if args.study == CONFLICTS and (trained or args.train or len(options.edits) != 1):
        raise InputError("the study of conflicts takes one number of --edits and one --editor: leave the others out")
    if args.study != CONFLICTS:
        options.pool_of(source.size)
    from liveedit.evaluation.conflicts import run_conflicts
    from liveedit.evaluation.studies import STUDIES, run_study, variants_of
    from liveedit.evaluation.study_report import study_tables, write_study

    planned = _planned(args, STUDIES[args.study].trained) if args.train else {}
    _check(args, [*trained.values()], planned)
    progress("loading the model")
    backbone = open_backbone(args)
    source = fitting_source(source, backbone)
    if args.study == CONFLICTS:
        name, editor = open_editor(args.editor, backbone)
        with ProgressBar() as show:
            result = run_conflicts(
                editor,
                source,
                options.edits[0],
                options.seeds,
                args.out,
                name,
                show,
                batch_size=options.batch_size,
            )
    else:
        options.pool_of(source.size)
        _train(args, planned)
        trained = {**{label: str(training.out) for label, training in planned.items()}, **trained}
        makers = {label: _maker(folder, backbone) for label, folder in trained.items()}
        variants = variants_of(STUDIES[args.study], lambda: _liveedit(args.editor, backbone), makers)
        with ProgressBar() as show:
            result = run_study(args.study, variants, source, options, args.out, show)
    write_study(result, Path(args.out))
    if args.json:
        emit(result)
    else:
        print(study_tables(result))
    return 0


@dataclass(frozen=True)
class _Training:
    """An editor that a study trains: its folder, its architecture and how it is trained."""

    out: Path
    architecture: dict[str, Any]
    config: EditorTrainingConfig

    @property
    def done(self) -> bool:
        return (self.out / "training.json").exists()


def _planned(args: argparse.Namespace, variants: Mapping[str, Mapping[str, Any]]) -> dict[str, _Training]:
    """The editors that the study trains, by label."""
    if not variants:
        raise InputError(f"the study {args.study} compares nothing that is trained for it: leave --train out")
    unknown = [label for label in args.only if label not in variants]
    if unknown:
        raise InputError(f"there is no variant {unknown[0]!r}: choose of {', '.join(map(repr, variants))}")
    planned, home = {}, Path(args.trained or Path(args.out) / "trained")
    for label, changes in variants.items():
        if args.only and label not in args.only:
            continue
        given = config_values(args, EditorConfig, ARCHITECTURE)
        architecture = {**given, **{k: v for k, v in changes.items() if k in _fields(EditorConfig)}}
        settings = {k: v for k, v in changes.items() if k in _fields(EditorTrainingConfig)}
        config = EditorTrainingConfig(**{**config_values(args, EditorTrainingConfig, tuple(SCHEDULE)), **settings})
        planned[label] = _Training(home / _folder_name({**architecture, **settings}), architecture, config)
    return planned


def _folder_name(values: Mapping[str, Any]) -> str:
    """What is unusual about an editor, as a folder's name: one without it is the same editor in every study."""
    from liveedit.evaluation.studies import slug

    usual = {**{field.name: field.default for field in dataclasses.fields(EditorConfig)}, **EMBEDDED}
    usual |= {field.name: field.default for field in dataclasses.fields(EditorTrainingConfig)}
    changed = [f"{name} {value}" for name, value in values.items() if value != usual[name]]
    return slug(" ".join(changed) or "as usual")


def _check(args: argparse.Namespace, trained: list[str], planned: Mapping[str, _Training]) -> None:
    """Refuse, before anything is loaded or trained, editors that cannot be for the backbone."""
    from liveedit.evaluation.studies import STUDIES
    from liveedit.training.editor_training import check_sizes

    varied = args.study == CONFLICTS or STUDIES[args.study].strategies or STUDIES[args.study].fits
    for editor in [*([args.editor] if varied else []), *trained]:
        check_editor(editor, args.backbone)
    for training in planned.values():
        if training.done:
            check_editor(str(training.out), args.backbone)
            _check_alike(training)
        else:
            check_sizes(args.backbone, training.architecture, training.config)


def _check_alike(training: _Training) -> None:
    """Refuse an editor that was trained with another schedule than the study's."""
    from liveedit.training.records import read_record

    record = read_record(training.out)
    # A setting that an older record does not name had no other value then.
    other = [name for name, value in dataclasses.asdict(training.config).items() if record.get(name, value) != value]
    if other:
        raise InputError(
            f"{training.out} was trained with {other[0]} {record[other[0]]}, not {getattr(training.config, other[0])}: "
            "give the same schedule, or another folder"
        )


def _train(args: argparse.Namespace, planned: Mapping[str, _Training]) -> None:
    """Train the study's editors that are not there yet."""
    from liveedit.training.editor_training import train_editor

    for label, training in planned.items():
        if training.done:
            continue
        progress(f"training {label}")
        train_editor(
            training.out,
            args.backbone,
            training.config,
            training.architecture,
            args.photos,
            args.annotations,
            resume=True,
            device=args.device,
        )


def _fields(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def _labelled(pairs: list[str]) -> dict[str, str]:
    """``LABEL=FOLDER`` of every trained editor."""
    found: dict[str, str] = {}
    for pair in pairs:
        label, sign, folder = pair.partition("=")
        if not sign or not label or not folder:
            raise InputError(f"{pair!r} names no trained editor: write LABEL=FOLDER")
        if label in found:
            raise InputError(f"two trained editors are called {label!r}: give each a label of its own")
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder} of the trained editor {label!r}: check the path")
        found[label] = folder
    return found


def _maker(folder: str, backbone: Backbone) -> Callable[[], Editor[Any]]:
    return lambda: open_editor(folder, backbone)[1]


def _liveedit(text: str, backbone: Backbone) -> Any:
    """The trained LiveEdit of ``--editor``; other editors have no routing to vary."""
    from liveedit.editors import LiveEdit

    _, editor = open_editor(text, backbone)
    if not isinstance(editor, LiveEdit):
        raise InputError(
            f"{text} is no LiveEdit, so it has no routing to vary: choose a folder of one, or the study conflicts"
        )
    return editor
