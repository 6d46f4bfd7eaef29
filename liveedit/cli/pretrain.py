"""``pretrain``: the embedded backbone, trained from scratch."""

from __future__ import annotations

import argparse
from pathlib import Path

from liveedit.cli import options
from liveedit.config import PretrainConfig

NAME = "pretrain"
HELP = "Train the embedded backbone from scratch (hours on two CPU cores; resumable)."
EXAMPLE = "python -m liveedit pretrain --out runs/backbone --photos cifar10.zip --annotations vqa_train.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command; one per field of the configuration."""
    add_data_options(parser)
    options.add_config_options(parser, PretrainConfig)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Where to write, and the data besides the emoji world."""
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="where the model and its run are written"
    )
    parser.add_argument("--photos", type=Path, metavar="ZIP", help="CIFAR-10 as a zip of JPEGs in class folders")
    parser.add_argument(
        "--annotations",
        type=Path,
        nargs="+",
        default=[],
        metavar="JSON",
        help="E-VQA or VLKEB annotation files",
    )
    parser.add_argument("--resume", action="store_true", help="continue the unfinished training in --out")
    options.add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Train, then say where the model lies."""
    config = options.config_from(args, PretrainConfig)
    from liveedit.training.pretrain import pretrain

    out = pretrain(args.out, config, args.photos, args.annotations, args.resume)
    if args.json:
        options.emit({"out": str(out)})
    else:
        print(f"wrote {out}")
    return 0
