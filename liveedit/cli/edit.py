"""``edit``: one correction, added to a file of edits, and a check whether it took."""

from __future__ import annotations

import argparse

from liveedit.cli import options
from liveedit.types import Edit, Query

NAME = "edit"
HELP = "Correct the model: for this picture and question it shall give this answer."
EXAMPLE = 'python -m liveedit edit photo.jpg "What animal is this?" "snow leopard" --edits mine.safetensors'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("image", metavar="IMAGE", help="PNG, JPEG or WEBP")
    parser.add_argument("prompt", metavar="PROMPT", help="the question")
    parser.add_argument("answer", metavar="ANSWER", help="what the model shall answer from now on")
    parser.add_argument("--edits", required=True, metavar="FILE", help="file of edits, created or extended")
    options.add_model_options(parser)
    options.add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Apply the edit, save the file, ask again."""
    from liveedit.experts.likeness import give_way, given_way, same
    from liveedit.pictures import open_picture

    image = open_picture(args.image)
    repository = options.load_edits(args.edits, options.editor_config(args), create=True)
    editor = options.load_editor(args)
    (new,) = editor.edit(repository, [Edit(image, args.prompt, args.answer)])
    give_way(repository, {new})
    repository.save(args.edits)
    query = Query(image, args.prompt)
    base, edited = editor.answer([None, repository], [query, query])
    took = same(edited.text, args.answer)
    own = next(row for row in edited.trace.experts if row.expert_id == new)
    aside = {expert.id for expert in given_way(repository, new)}
    numbers = [number for number, expert in enumerate(repository, start=1) if expert.id in aside]
    if args.json:
        options.emit(
            {
                "id": new,
                "edits": len(repository),
                "switched_off": numbers,
                "took": took,
                "answer": edited.text,
                "base": base.text,
                "trace": edited.trace.to_json(),
            }
        )
        return 0
    if numbers:
        print(f"switched off, since the new edit asks the same of the same picture: {', '.join(map(str, numbers))}")
    print(f"unedited: {base.text}")
    print(f"edited:   {edited.text}")
    if took:
        print(f"The edit took; {args.edits} now holds {len(repository)}.")
    elif own.passed:
        print(f"The edit was routed (weight {own.weight:.2f}) but did not take in full; {args.edits} keeps it.")
    else:
        print(f"The edit was not routed (margin {own.margin:+.2f}) and did not take; {args.edits} keeps it.")
    return 0
