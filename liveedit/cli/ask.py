"""``ask``: a question, answered by the unedited model and, with a file of edits, by the edited one."""

from __future__ import annotations

import argparse

from liveedit.cli import options
from liveedit.types import Answer, InputError, Query

NAME = "ask"
HELP = "Ask a question about a picture, or without one; with --edits, under those edits too."
EXAMPLE = 'python -m liveedit ask photo.jpg "What animal is this?" --edits my-edits.safetensors'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="PNG, JPEG or WEBP; none for a text-only question")
    parser.add_argument("prompt", metavar="PROMPT", help="the question")
    parser.add_argument("--edits", metavar="FILE", help="file of edits made by `edit`, or saved on the page")
    parser.add_argument("--max-new-tokens", type=int, default=32, metavar="INT", help="longest answer (default: 32)")
    parser.add_argument("--no-template", action="store_true", help="send the question without the chat template")
    options.add_model_options(parser)
    options.add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Answer, and say which edits were routed."""
    from liveedit.pictures import open_picture

    if args.max_new_tokens < 1:
        raise InputError(f"--max-new-tokens is {args.max_new_tokens}: it must be at least 1")
    image = open_picture(args.image) if args.image else None
    repository = options.load_edits(args.edits, options.editor_config(args)) if args.edits else None
    editor = options.load_editor(args)
    query = Query(image, args.prompt)
    settings = {"max_new_tokens": args.max_new_tokens, "template": not args.no_template}
    base: Answer = editor.answer(None, query, **settings)
    edited: Answer = editor.answer(repository, query, **settings) if repository is not None else base
    if args.json:
        options.emit(
            {
                "image": args.image,
                "prompt": args.prompt,
                "answer": edited.text,
                "base": base.text,
                "trace": edited.trace.to_json(),
            }
        )
        return 0
    if repository is None:
        print(base.text)
        return 0
    print(f"unedited: {base.text}")
    print(f"edited:   {edited.text}")
    numbers = {expert.id: number for number, expert in enumerate(repository, start=1)}
    for expert in edited.trace.passed:
        edit = repository.get(expert.expert_id).edit
        why = f"weight {expert.weight:.2f}, margin {expert.margin:+.2f}"
        print(f"  edit {numbers[expert.expert_id]} ({why}): {edit.prompt} -> {edit.target}")
    if not edited.trace.passed:
        print("  " + (edited.trace.reason or f"None of the {len(repository)} edits fits this picture."))
    return 0
