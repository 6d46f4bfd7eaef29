"""``check-data``: is a published benchmark complete, and where do its missing parts come from?"""

from __future__ import annotations

import argparse

from liveedit.cli import USER_ERROR
from liveedit.cli.benchmarks import SPLITS, add_place_options, refuse_two_files
from liveedit.cli.options import add_json_option, emit
from liveedit.data import BENCHMARKS, check_data
from liveedit.types import InputError

NAME = "check-data"
HELP = "say which files of E-VQA, E-IC or VLKEB are missing, how many, and where they come from"
EXAMPLE = "python -m liveedit check-data evqa --root data/evqa"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("benchmark", choices=tuple(BENCHMARKS), help="the benchmark to check")
    add_place_options(parser)
    parser.add_argument("--split", choices=SPLITS, help="check this split alone (default: all of them)")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Check and report; 0 when nothing is missing, else 2."""
    if args.root is None:
        raise InputError("check-data needs --root DIR, the folder that holds the benchmark: name it")
    refuse_two_files(args)
    splits = () if args.split is None else (args.split,)
    report = check_data(BENCHMARKS[args.benchmark], args.root, splits, args.json_file)
    if args.json:
        emit(report.to_json())
    else:
        print(report)
    return 0 if report.complete else USER_ERROR
