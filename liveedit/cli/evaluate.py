"""``evaluate``: apply N edits and measure what changed, what did not, and what it cost."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from liveedit.cli.options import BACKBONE, EDITOR, add_json_option, emit, load_editor
from liveedit.cli.progress import ProgressBar
from liveedit.types import InputError

if TYPE_CHECKING:
    from liveedit.data import Sample

NAME = "evaluate"
HELP = "apply N edits of a benchmark and measure reliability, generality, locality, routing and cost"
EXAMPLE = "python -m liveedit evaluate --benchmark world --edits 100 --seed 0 --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--benchmark",
        choices=("world", "evqa"),
        default="world",
        help="the emoji world's own, drawn for the seed, or a file in the E-VQA format (default: world)",
    )
    parser.add_argument("--edits", type=int, default=100, metavar="N", help="edits to apply (default: 100)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="seed of the benchmark and of the bootstrap (default: 0)",
    )
    parser.add_argument("--data", metavar="JSON", help="benchmark file (evqa); its first N samples are used")
    parser.add_argument("--images", metavar="DIR", help="folder that its picture names start from (evqa)")
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
        metavar="PATH",
        help="folder of the trained editor (default: shipped)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--out", metavar="FILE", help="also write the result here, as tables (.md) or JSON")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.edits < 1:
        raise InputError(f"--edits is {args.edits}: ask for at least 1")
    if args.benchmark == "evqa" and (args.data is None or args.images is None):
        raise InputError("the benchmark evqa needs --data JSON and --images DIR: give both")
    if args.benchmark == "world" and (args.data is not None or args.images is not None):
        raise InputError("--data and --images belong to --benchmark evqa: leave them out or choose evqa")
    from liveedit.evaluation import evaluate, to_markdown, write_report

    with ExitStack() as stack:
        samples = _samples(args, stack)
        editor = load_editor(args)
        result = evaluate(editor, samples, args.seed, stack.enter_context(ProgressBar()))
    result["benchmark"] = args.benchmark
    if args.out is not None:
        write_report(result, args.out)
    if args.json:
        emit(result)
    else:
        print(to_markdown(result))
    return 0


def _samples(args: argparse.Namespace, stack: ExitStack) -> list[Sample]:
    """The benchmark's first samples; the world's pictures live in a folder that goes with ``stack``."""
    from liveedit.data import read_evqa
    from liveedit.world.benchmark import write_benchmark

    if args.benchmark == "world":
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="liveedit-")))
        with ProgressBar() as show:
            path = write_benchmark(folder, args.edits, args.seed, "eval", show)
        return read_evqa(path, folder)
    samples = read_evqa(args.data, args.images, args.edits)
    if len(samples) < args.edits:
        raise InputError(f"{args.data} has {len(samples)} samples: ask for --edits {len(samples)} or fewer")
    return samples
