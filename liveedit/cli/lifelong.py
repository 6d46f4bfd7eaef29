"""``lifelong``: one editor on N = 1 to 10,000 sequential edits, several seeds, resumable."""

from __future__ import annotations

import argparse

from liveedit.cli.benchmarks import add_benchmark_options
from liveedit.cli.measuring import (
    EDITOR_HELP,
    add_lifelong_options,
    check_editor,
    fitting_source,
    lifelong_options,
    open_editor,
    source_of,
)
from liveedit.cli.options import BACKBONE, add_json_option, add_placement_options, emit, open_backbone, progress
from liveedit.cli.progress import ProgressBar

NAME = "lifelong"
HELP = "measure an editor on growing numbers of sequential edits; an interrupted run goes on where it was"
EXAMPLE = "python -m liveedit lifelong --benchmark world --edits 1 10 100 1000 --seeds 0 1 2 --out runs/lifelong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_benchmark_options(parser)
    add_lifelong_options(parser)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="folder of everything measured; run again to go on"
    )
    parser.add_argument(
        "--editor",
        default="liveedit",
        metavar="EDITOR",
        help=EDITOR_HELP,
    )
    parser.add_argument(
        "--backbone", default=str(BACKBONE), metavar="PATH", help="backbone folder or hub id (default: shipped)"
    )
    add_placement_options(parser)
    parser.add_argument("--label", default="", metavar="NAME", help="the editor's name in tables (default: its own)")
    parser.add_argument(
        "--unedited",
        metavar="FOLDER",
        help="folder of unedited answers to share with other editors' runs on this benchmark (default: in --out)",
    )
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    options, source = lifelong_options(args), source_of(args)
    options.pool_of(source.size)
    from liveedit.evaluation.lifelong import run_lifelong
    from liveedit.evaluation.lifelong_report import lifelong_tables

    check_editor(args.editor, args.backbone)
    progress("loading the model")
    name, editor = open_editor(args.editor, open_backbone(args))
    source = fitting_source(source, editor.backbone)
    with ProgressBar() as show:
        result = run_lifelong(editor, source, options, args.out, name, args.label, args.unedited, show)
    if args.json:
        emit(result)
    else:
        print(lifelong_tables([result]))
    return 0
