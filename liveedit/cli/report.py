"""``report``: tables and figures of finished lifelong evaluations, several editors in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

from liveedit.cli.options import add_json_option, emit

NAME = "report"
HELP = "draw tables and figures of lifelong evaluations, several editors side by side"
EXAMPLE = "python -m liveedit report runs/lifelong FT-L=runs/ft-l --out runs/report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "results", nargs="+", metavar="RESULT", help="folder or JSON file of `lifelong`, or LABEL=PLACE to name it anew"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for tables (.md, .csv) and figures (.png, .svg)"
    )
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from liveedit.evaluation.lifelong_figures import write_figures
    from liveedit.evaluation.lifelong_reading import read_results
    from liveedit.evaluation.lifelong_report import write_tables

    results = read_results(args.results)
    files = [*write_tables(results, Path(args.out)), *write_figures(results, Path(args.out))]
    if args.json:
        emit({"files": [str(file) for file in files]})
    else:
        print("\n".join(str(file) for file in files))
    return 0
