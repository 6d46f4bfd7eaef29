"""``attribute``: the regions of a picture that made a feature, selected an edit or spoke for an answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveedit.cli import options
from liveedit.cli.edits import find
from liveedit.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from liveedit.attribution import Attribution, Instance
    from liveedit.editors import LiveEdit
    from liveedit.experts import ExpertRepository
    from liveedit.types import Query

NAME = "attribute"
HELP = "Show which regions of a picture made a feature, selected an edit, or spoke for an answer."
EXAMPLE = 'python -m liveedit attribute photo.jpg "What animal is this?" --edits my.safetensors --figure why.pdf'
# Named here too: what the parser offers must not need torch.
METHODS = ("tokens", "occlusion", "ablation", "mask")
TARGETS = ("feature", "margin", "base", "edited", "difference")
FORMATS = ("png", "svg", "pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("image", metavar="IMAGE", help="PNG, JPEG or WEBP")
    parser.add_argument("prompt", metavar="PROMPT", help="the question")
    parser.add_argument(
        "--method", choices=METHODS, default="tokens",
        help="noise on visual tokens (fast, where they lie on a grid over the picture), occluded or ablated pixels, or "
        "a learned mask (any model)",
    )  # fmt: skip
    parser.add_argument(
        "--target", choices=TARGETS, default="feature",
        help="what is explained: the key visual feature, the routing margin of an edit, the log-probability of the "
        "unedited answer, of the edited answer, or their difference (default: feature)",
    )  # fmt: skip
    parser.add_argument("--edits", metavar="FILE", help="file of edits, for every target but feature and base")
    parser.add_argument(
        "--expert", metavar="EDIT", help="number or id of the edit whose margin is explained (default: the nearest)"
    )
    parser.add_argument("--side", choices=("query", "edit"), default="query", help="whose feature (default: query)")
    parser.add_argument("--seed", type=int, default=0, metavar="INT", help="seed of noise and jitter (default: 0)")
    parser.add_argument("--out", metavar="FILE", help="PNG file of the picture with the heatmap over it")
    parser.add_argument(
        "--figure", metavar="FILE",
        help="PNG, SVG or PDF file of the instance analysis: the question and the three nearest edits with their "
        "heatmaps and weights",
    )  # fmt: skip
    options.add_model_options(parser)
    options.add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Compute the heatmap, and the figure if there is to be one; write or print them."""
    kind = _figure_kind(args)
    from liveedit.attribution import attribute
    from liveedit.cli.progress import ProgressBar
    from liveedit.evaluation.instance_figure import figure_bytes
    from liveedit.pictures import open_picture, overlay_heatmap
    from liveedit.types import Query

    query = Query(open_picture(args.image), args.prompt)
    repository = options.load_edits(args.edits, options.editor_config(args)) if args.edits else None
    editor = options.load_editor(args)
    editor.backbone.check_prompt(args.prompt)
    instance = _instance(args, editor, repository, query)
    with ProgressBar() as show:
        (found,) = attribute(editor, [instance], args.method, args.target, args.seed, _telling(show, "heatmap"))
        if kind and repository is not None:
            figure = _figure(args, editor, repository, query, found, _telling(show, "heatmaps of the edits"))
            Path(args.figure).write_bytes(figure_bytes(figure, kind))
    if args.out:
        overlay_heatmap(instance.image, found.heatmap, found.region).save(args.out, format="PNG")
    if args.json:
        files = {"out": args.out, "figure": args.figure}
        options.emit({**_values(found), "side": args.side, "expert": instance.expert_id, **files})
        return 0
    for path in filter(None, (args.out, args.figure)):
        print(f"wrote {path}")
    if not args.out and not args.figure:
        for row in found.heatmap:
            print(" ".join(f"{value:4.2f}" for value in row))
    if found.cropped:
        left, top, right, bottom = found.region
        options.progress(
            f"the map lies over {left:.0%} to {right:.0%} of the width and {top:.0%} to {bottom:.0%} of the height: "
            "the model's processor crops the rest away"
        )
    options.progress(f"value {found.value:.4f}, {found.forwards} forward passes, {found.seconds:.2f} s")
    return 0


def _telling(show: Callable[[int, int, str], None], label: str) -> Callable[[int, int], None]:
    return lambda done, total: show(done, total, label)


def _figure_kind(args: argparse.Namespace) -> str:
    """The format that the name of ``--figure`` asks for; empty without one."""
    if not args.figure:
        return ""
    kind = Path(args.figure).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"--figure is {args.figure}: give a name that ends in .png, .svg or .pdf")
    if not args.edits:
        raise InputError("the figure shows edits: give a file of them with --edits")
    return kind


def _instance(
    args: argparse.Namespace, editor: LiveEdit, repository: ExpertRepository | None, query: Query
) -> Instance:
    """What is explained, with the chosen expert of the routing margin."""
    from liveedit.attribution import Instance, nearest_experts

    assert query.image is not None
    expert_id = None
    if args.target == "margin":
        if repository is None:
            raise InputError("the routing margin belongs to an edit: give a file of edits with --edits")
        if args.expert:
            expert_id = find(repository, [args.expert])[0].id
        else:
            nearest = nearest_experts(editor.route(repository, [query])[0], 1)
            if not nearest:
                raise InputError("no edit is on: switch one on, or name one with --expert")
            expert_id = nearest[0].expert_id
    elif args.expert:
        raise InputError("--expert belongs to --target margin: leave it out, or choose that target")
    return Instance(query.image, query.prompt, args.side, repository, expert_id)


def _values(found: Attribution) -> dict[str, Any]:
    """An attribution as JSON."""
    return {
        "method": found.method,
        "target": found.target,
        "value": found.value,
        "forwards": found.forwards,
        "seconds": round(found.seconds, 3),
        "region": [round(share, 4) for share in found.region],
        "scores": [[round(float(value), 6) for value in row] for row in found.scores],
        "heatmap": [[round(float(value), 4) for value in row] for row in found.heatmap],
    }


def _figure(
    args: argparse.Namespace,
    editor: LiveEdit,
    repository: ExpertRepository,
    query: Query,
    found: Attribution,
    told: Callable[[int, int], None],
) -> Figure:
    """The question with its heatmap, and the nearest edits with theirs."""
    from liveedit.attribution import analyse, expert_instances, nearest_experts, note_of
    from liveedit.evaluation.instance_figure import InstanceAnalysis, Map, instance_figure

    edited = editor.answer(repository, query)
    nearest = nearest_experts(edited.trace)
    instances = expert_instances(query, args.target, repository, [row.expert_id for row in nearest])
    maps = analyse(editor, instances, args.method, args.target, args.seed, told)
    margin = args.target == "margin"
    analysis = InstanceAnalysis(
        query,
        editor.answer(None, query).text,
        edited.text,
        repository,
        nearest,
        None if margin else Map(found.heatmap, note_of(found), found.region),
        {expert_id: Map(one.heatmap, note_of(one), one.region) for expert_id, one in maps.items()},
        {expert.id: f"Edit {number}" for number, expert in enumerate(repository, start=1)},
        over_question=margin,
    )
    return instance_figure(analysis)
