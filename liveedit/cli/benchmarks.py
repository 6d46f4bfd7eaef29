"""Which benchmark a command works on: its options, and the samples they choose."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from liveedit.cli.progress import ProgressBar
from liveedit.data import BENCHMARKS, SUBSETS, Benchmark, Reading, Sample, read_benchmark, read_evqa
from liveedit.types import InputError

WORLD, PHOTOS = "world", "photos"
SPLITS = tuple(dict.fromkeys(split for benchmark in BENCHMARKS.values() for split in benchmark.files))


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    """``--benchmark`` and what says where its files lie and which samples are meant."""
    parser.add_argument(
        "--benchmark",
        choices=(WORLD, PHOTOS, *BENCHMARKS),
        default=WORLD,
        help="the emoji world's own, drawn for the seed; photographs and annotations that no training has seen; or a "
        "published one from its files (default: world)",
    )
    parser.add_argument("--photos", type=Path, metavar="ZIP", help="CIFAR-10 as a zip of JPEGs (photos)")
    parser.add_argument(
        "--annotations", type=Path, nargs="+", default=[], metavar="JSON", help="E-VQA annotation files (photos)"
    )
    add_place_options(parser)
    parser.add_argument(
        "--split",
        choices=SPLITS,
        help="split whose file in the root is read; multihop and onehop are VLKEB's portability (default: eval)",
    )
    parser.add_argument(
        "--subset",
        choices=tuple(SUBSETS),
        default="all",
        help="; ".join(f"{name}: {meaning}" for name, meaning in SUBSETS.items()) + " (default: all)",
    )
    parser.add_argument(
        "--training-file",
        metavar="JSON",
        help="training annotations, from which a subset is computed and `compare` trains (default: the one in the root)",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave samples out whose pictures are not all there"
    )


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """``--root`` and ``--json-file``."""
    parser.add_argument(
        "--root",
        "--images",
        metavar="DIR",
        help="folder of a published benchmark: annotation files, and the folders of its pictures",
    )
    parser.add_argument(
        "--json-file", "--data", metavar="JSON", help="annotation file, when it is not at its usual place in the root"
    )


@contextmanager
def open_benchmark(args: argparse.Namespace, count: int, seed: int = 0) -> Iterator[Reading]:
    """The first ``count`` samples that the options choose.

    The world's and the photographs' are drawn for the seed, and their pictures go when the context is left.
    """
    if args.benchmark in BENCHMARKS:
        yield read_published(args, count)
        return
    refuse_published_options(args)
    from liveedit.evaluation.photographs import write_photo_benchmark
    from liveedit.world.benchmark import write_benchmark

    with TemporaryDirectory(prefix="liveedit-") as folder:
        with ProgressBar() as show:
            if args.benchmark == PHOTOS:
                if args.photos is None or not args.annotations:
                    raise InputError("the benchmark photos needs --photos ZIP and --annotations JSON: give both")
                path = write_photo_benchmark(Path(folder), count, seed, args.photos, args.annotations, show)
            else:
                path = write_benchmark(Path(folder), count, seed, "eval", show)
        samples = read_evqa(path, folder)
        yield Reading(samples, path.name, len(samples), "all", len(samples), 0)


def refuse_published_options(args: argparse.Namespace) -> None:
    """Refuse, for benchmarks that are drawn, what only a published one has a use for."""
    given = {
        "--root": args.root,
        "--json-file": args.json_file,
        "--split": args.split,
        "--subset": args.subset != "all",
        "--training-file": args.training_file,
        "--allow-missing": args.allow_missing,
    }
    for name, value in given.items():
        if value:
            raise InputError(f"{name} belongs to a published benchmark: choose one with --benchmark, or leave it out")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """``--benchmark`` and where its training samples lie."""
    parser.add_argument(
        "--benchmark",
        choices=(WORLD, *BENCHMARKS),
        default=WORLD,
        help="what the cases come from: the emoji world, with --photos and --annotations where they are given, or the "
        "training samples of a published benchmark under --root, asked without a chat template (default: world)",
    )
    add_place_options(parser)
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave samples out whose pictures are not all there"
    )
    # Training takes the whole training file.
    parser.set_defaults(split=None, subset="all", training_file=None)


def training_samples(args: argparse.Namespace) -> tuple[Benchmark | None, list[Sample]]:
    """The published benchmark that :func:`add_training_options` chose with its training samples; none for the world."""
    if args.benchmark == WORLD:
        refuse_published_options(args)
        return None, []
    if args.photos is not None or args.annotations:
        raise InputError("--photos and --annotations belong to the emoji world: leave them out beside a benchmark")
    return BENCHMARKS[args.benchmark], read_published(args, default_split="train").samples


def training_part(args: argparse.Namespace) -> argparse.Namespace:
    """For :func:`training_samples`: the options of a command that measures on another split of the benchmark."""
    return argparse.Namespace(
        **{**vars(args), "json_file": args.training_file, "split": None, "subset": "all", "training_file": None}
    )


def read_published(args: argparse.Namespace, limit: int | None = None, default_split: str = "eval") -> Reading:
    """The first ``limit`` samples of a published benchmark (all without one); says on stderr what was chosen."""
    if args.root is None:
        raise InputError(f"the benchmark {args.benchmark} needs --root DIR, the folder that holds it: name it")
    refuse_two_files(args)
    benchmark, root = BENCHMARKS[args.benchmark], Path(args.root)
    training = args.training_file
    if args.subset != "all" and training is None:
        training = benchmark.find_annotations(root, "train")
    reading = read_benchmark(
        benchmark,
        args.json_file or benchmark.annotation_file(root, args.split or default_split),
        root,
        limit=limit,
        subset=args.subset,
        training=training,
        allow_missing=args.allow_missing,
    )
    print(reading, file=sys.stderr)
    return reading


def refuse_two_files(args: argparse.Namespace) -> None:
    """Refuse a split beside a file."""
    if args.json_file is not None and args.split is not None:
        raise InputError("--json-file and --split name two files: leave one of them out")
