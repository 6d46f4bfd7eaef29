"""``evaluate``: apply N edits and measure what changed, what did not, and what it cost."""

from __future__ import annotations

import argparse

from liveedit.cli.benchmarks import add_benchmark_options, open_benchmark
from liveedit.cli.measuring import EDITOR_HELP, add_batch_option, check_editor, open_editor, tell_too_long
from liveedit.cli.options import (
    BACKBONE,
    EDITOR,
    add_experts_option,
    add_json_option,
    add_placement_options,
    emit,
    open_backbone,
    progress,
)
from liveedit.cli.progress import ProgressBar
from liveedit.data import BENCHMARKS, fitting
from liveedit.types import InputError

NAME = "evaluate"
HELP = "apply N edits of a benchmark and measure reliability, generality, locality, routing and cost"
EXAMPLE = "python -m liveedit evaluate --benchmark world --edits 100 --seed 0 --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_benchmark_options(parser)
    parser.add_argument("--edits", type=int, default=100, metavar="N", help="edits to apply (default: 100)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="seed of the benchmark and of the bootstrap (default: 0)",
    )
    parser.add_argument(
        "--backbone",
        default=str(BACKBONE),
        metavar="PATH",
        help="backbone folder or hub id (default: shipped)",
    )
    parser.add_argument(
        "--editor-path",
        "--editor",
        dest="editor",
        default=str(EDITOR),
        metavar="EDITOR",
        help=EDITOR_HELP,
    )
    add_placement_options(parser)
    add_experts_option(parser)
    add_batch_option(parser)
    parser.add_argument("--out", metavar="FILE", help="also write the result here, as tables (.md) or JSON")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.edits < 1:
        raise InputError(f"--edits is {args.edits}: ask for at least 1")
    from liveedit.evaluation import evaluate, to_markdown, write_report
    from liveedit.evaluation.asking import check_batch_size

    check_batch_size(args.batch_size)
    with open_benchmark(args, args.edits, args.seed) as reading:
        if len(reading.samples) < args.edits:
            raise InputError(f"{reading}: ask for --edits {len(reading.samples)} or fewer")
        check_editor(args.editor, args.backbone)
        progress("loading the model")
        _, editor = open_editor(args.editor, open_backbone(args), args.experts_on)
        samples = fitting(reading.samples, editor.backbone)
        too_long = len(reading.samples) - len(samples)
        tell_too_long(too_long)
        with ProgressBar() as show:
            result = evaluate(editor, samples, args.seed, show, args.batch_size)
    result["benchmark"] = args.benchmark
    if args.benchmark in BENCHMARKS:
        result["selection"] = {**reading.to_json(), "too_long": too_long}
    if args.out is not None:
        write_report(result, args.out)
    if args.json:
        emit(result)
    else:
        print(to_markdown(result))
    return 0
