"""``import-reference``: the checkpoint of the authors' released editor as an editor of this program."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from liveedit.cli import options
from liveedit.config import EditorConfig
from liveedit.types import EditorError

NAME = "import-reference"
HELP = "Turn a checkpoint of the authors' released editor into an editor folder."
EXAMPLE = "python -m liveedit import-reference epoch-9-i-60000 --out editors/llava --backbone llava-hf/llava-1.5-7b-hf"

# What the checkpoint's tensors do not tell; the defaults are the paper's and the released code's.
GIVEN = ("layer", "heads", "lora_scale")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="checkpoint saved by the authors' training")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="editor folder to write")
    options.add_config_options(parser, EditorConfig, only=GIVEN)
    parser.add_argument(
        "--backbone",
        metavar="PATH",
        help="backbone the editor was trained for, folder or hub id: checked and recorded, so that others are refused "
        "(default: not recorded)",
    )
    options.add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Read and check the file, write the editor, say what it is."""
    from liveedit.experts.reference_checkpoint import read_reference

    modules = read_reference(args.file, **options.config_values(args, EditorConfig, GIVEN))
    from liveedit.editors.folder import CONFIG, WEIGHTS
    from liveedit.editors.liveedit.pretrained import save_editor

    if (args.out / CONFIG).exists() or (args.out / WEIGHTS).exists():
        raise EditorError(f"{args.out} already holds an editor: choose another folder")
    config = modules.config
    if args.backbone:
        from liveedit.backbones import load_backbone
        from liveedit.backbones.checkpoint import read_config, stored_fingerprint
        from liveedit.editors.fit import check_architecture

        model = read_config(args.backbone)
        check_architecture(config, model)
        options.progress("reading the backbone")
        known = stored_fingerprint(args.backbone, model) or load_backbone(args.backbone, "cpu").fingerprint
        config = replace(config, backbone=known)
    save_editor(args.out, config, modules)
    if args.json:
        options.emit({"out": str(args.out), "config": asdict(config)})
        return 0
    print(
        f"wrote {args.out}: width {config.hidden_size}, rank {config.rank}, {config.queries} queries of "
        f"{config.module_dim}, {config.sentinel_tokens} sentinel tokens, layer {config.layer}"
    )
    if not config.backbone:
        print(f"Its backbone is not recorded: any of width {config.hidden_size} will be taken.")
    return 0
