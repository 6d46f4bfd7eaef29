"""``attribute``: the regions of a picture that made its key visual feature, as a picture and as numbers."""

from __future__ import annotations

import argparse

from liveedit.cli import options

NAME = "attribute"
HELP = "Show which regions of a picture made its key visual feature, the one that edits are routed by."
EXAMPLE = 'python -m liveedit attribute photo.jpg "What animal is this?" --out heatmap.png'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("image", metavar="IMAGE", help="PNG, JPEG or WEBP")
    parser.add_argument("prompt", metavar="PROMPT", help="the question")
    parser.add_argument(
        "--method", choices=("tokens", "occlusion"), default="tokens",
        help="noise on visual tokens (fast, the LLaVA family) or occluded pixels (any model)",
    )  # fmt: skip
    parser.add_argument("--side", choices=("query", "edit"), default="query", help="whose feature (default: query)")
    parser.add_argument("--seed", type=int, default=0, metavar="INT", help="seed of the noise (default: 0)")
    parser.add_argument("--out", metavar="FILE", help="PNG file of the picture with the heatmap over it")
    options.add_model_options(parser)
    options.add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Compute the heatmap; write or print it."""
    from liveedit.pictures import open_picture, overlay_heatmap

    image = open_picture(args.image)
    editor = options.load_editor(args)
    editor.backbone.check_prompt(args.prompt)
    if args.method == "tokens":
        from liveedit.attribution import visual_feature_heatmaps

        heatmap = visual_feature_heatmaps(editor, [image], [args.prompt], args.side, args.seed)[0]
    else:
        from liveedit.attribution import visual_feature_occlusion

        heatmap = visual_feature_occlusion(editor, image, args.prompt, args.side)
    if args.out:
        overlay_heatmap(image, heatmap).save(args.out, format="PNG")
    if args.json:
        rows = [[round(float(value), 4) for value in row] for row in heatmap]
        options.emit({"method": args.method, "side": args.side, "out": args.out, "heatmap": rows})
    elif args.out:
        print(f"wrote {args.out}")
    else:
        for row in heatmap:
            print(" ".join(f"{value:4.2f}" for value in row))
    return 0
