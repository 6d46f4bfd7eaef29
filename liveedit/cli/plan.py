"""``plan``: what a backbone and an editor for it need, before anything is downloaded or loaded."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from liveedit.cli import options
from liveedit.configs.liveedit import PAPER_TRAINING
from liveedit.types import InputError

if TYPE_CHECKING:
    from liveedit.editors.footprint import Footprint

NAME = "plan"
HELP = "Say what memory a backbone needs for serving and training, and its editor; reads its config.json alone."
EXAMPLE = "python -m liveedit plan llava-hf/llava-1.5-7b-hf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("model", metavar="MODEL", help="folder, config.json or hub id of the backbone")
    parser.add_argument(
        "--layer", type=int, metavar="INT", help="l_e, the editor's layer (default: two thirds up, 21 of 32)"
    )
    batch = PAPER_TRAINING.batch
    parser.add_argument(
        "--batch", type=int, default=batch, metavar="INT", help=f"edits in a training step (default: {batch})"
    )
    parser.add_argument(
        "--image-tokens", type=int, metavar="INT", help="most tokens of one picture (default: as the configuration says)"
    )
    options.add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Count, and print."""
    for name in ("batch", "image_tokens"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}: it must be at least 1")
    from liveedit.editors.footprint import footprint

    found = footprint(args.model, args.layer, args.batch, args.image_tokens)
    if args.json:
        options.emit(found.to_json())
    else:
        print(table(found))
    return 0


def table(found: Footprint) -> str:
    """The plan as text; GB are 10^9 bytes."""
    editor = found.editor
    told = "" if found.image_tokens_known else " (assumed: give --image-tokens)"
    lines = [
        f"{found.model} ({found.model_type})",
        f"  parameters    {_count(found.parameters)}, of them {_count(found.language_parameters)} in the language model",
        f"  decoder       {found.layers} layers of width {found.hidden_size}; a picture takes at most "
        f"{found.image_tokens} tokens{told}",
        f"  editor        at layer {editor.layer} (0 to {found.layers - 1}), hidden_size {editor.hidden_size}, module_dim "
        f"{editor.module_dim}, rank {editor.rank}: {_count(found.editor_parameters)} parameters, {_size(found.editor_bytes)}",
        f"  one edit      {_size(found.bytes_per_edit)}; 1,000 edits {_size(1000 * found.bytes_per_edit)}",
        "",
        f"  {'backbone in':<28}" + "".join(f"{kind:>12}" for kind in found.memory),
    ]
    for title, name in (
        ("weights", "weights"),
        ("serving, one question", "serving"),
        (f"training, {found.batch} edits a step", "training"),
        ("the same with --recompute", "training_recompute"),
    ):
        lines.append(f"  {title:<28}" + "".join(f"{_size(getattr(m, name)):>12}" for m in found.memory.values()))
    return "\n".join([*lines, "", "Weights are counted, the rest is estimated; GB are 10^9 bytes."])


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


def _size(count: int | None) -> str:
    if count is None:
        return "–"
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
