"""``world``: write scenes or the editing benchmark of the emoji world, or redraw its glyphs."""

from __future__ import annotations

import argparse
from pathlib import Path

from liveedit.cli.progress import ProgressBar
from liveedit.types import WorldError

NAME = "world"
HELP = "write scenes or the editing benchmark of the emoji world, or redraw its glyphs from a font"
EXAMPLE = "python -m liveedit world benchmark --out benchmark --count 100 --seed 0 --split eval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    scenes = actions.add_parser("scenes", help="pictures with questions and answers")
    benchmark = actions.add_parser("benchmark", help="an editing benchmark in the E-VQA format")
    for part, what in ((scenes, "pictures"), (benchmark, "edits")):
        part.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
        part.add_argument("--count", type=int, default=100, metavar="N", help=f"{what} (default: 100)")
        part.add_argument("--seed", type=int, default=0, metavar="S", help="seed (default: 0)")
    benchmark.add_argument(
        "--split", choices=("eval", "train"), default="eval", help="wordings and seeds (default: eval)"
    )
    glyphs = actions.add_parser("draw-glyphs", help="redraw the atlas and colour labels in assets")
    glyphs.add_argument("--font", required=True, metavar="PATH", help="a colour font, NotoColorEmoji.ttf")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.action == "draw-glyphs":
        print(_draw_glyphs(Path(args.font)))
        return 0
    from liveedit.world.benchmark import write_benchmark, write_scenes

    with ProgressBar() as show:
        if args.action == "scenes":
            path = write_scenes(Path(args.out), args.count, args.seed, show)
        else:
            path = write_benchmark(Path(args.out), args.count, args.seed, args.split, show)
    print(path)
    return 0


def _draw_glyphs(font: Path) -> str:
    """Redraw the assets; returns what was done, in words."""
    from liveedit.world.catalogue import ASSETS
    from liveedit.world.draw import draw_atlas

    if not font.is_file():
        raise WorldError(f"there is no font at {font}: install fonts-noto-color-emoji or name another file")
    out = ASSETS / "glyphs.png"
    return f"{draw_atlas(font, ASSETS / 'glyphs.json', out)} glyphs drawn to {out}"
