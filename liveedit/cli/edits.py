"""``edits``: list, switch, remove, export and import the edits of a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveedit.cli import options
from liveedit.types import Edit, InputError

if TYPE_CHECKING:
    from liveedit.experts import Expert, ExpertRepository

NAME = "edits"
HELP = "List, switch on or off, remove, export or import edits."
EXAMPLE = "python -m liveedit edits off 2 --edits my-edits.safetensors"

LISTING = "edits.json"
_ACTIONS = {
    "list": "list the edits of a file",
    "on": "switch edits on",
    "off": "switch edits off; they stay in the file",
    "remove": "remove edits from the file",
    "export": "write edits to a folder: edits.json and the pictures, readable by any model's editor",
    "import": "add the edits of an exported folder (made anew by this editor) or of another file of edits",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per action."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    for action, text in _ACTIONS.items():
        sub = actions.add_parser(action, help=text, description=text)
        if action in ("on", "off", "remove"):
            sub.add_argument("ids", nargs="+", metavar="EDIT", help="number or id as `list` shows them, or 'all'")
        if action == "export":
            sub.add_argument("folder", type=Path, metavar="FOLDER", help="folder to write; it is created")
        if action == "import":
            sub.add_argument("source", type=Path, metavar="SOURCE", help="exported folder, or file of edits")
        sub.add_argument("--edits", required=True, metavar="FILE", help="file of edits (.safetensors)")
        options.add_model_options(sub)
        options.add_json_option(sub)


def run(args: argparse.Namespace) -> int:
    """Do what the action says and report the file's state afterwards."""
    repository = options.load_edits(args.edits, options.editor_config(args), create=args.action == "import")
    report: dict[str, Any] = {}
    if args.action in ("on", "off", "remove"):
        changed = [expert.id for expert in find(repository, args.ids)]
        for expert_id in changed:
            if args.action == "remove":
                repository.remove(expert_id)
            else:
                repository.set_active(expert_id, args.action == "on")
        repository.save(args.edits)
        report["changed"] = changed
    elif args.action == "export":
        export_edits(repository, args.folder)
        report["folder"] = str(args.folder)
    elif args.action == "import":
        report["added"] = import_edits(repository, args)
        repository.save(args.edits)
    rows = [options.edit_row(number, expert) for number, expert in enumerate(repository, start=1)]
    if args.json:
        options.emit({**report, "edits": rows})
        return 0
    for row in rows:
        state = "on " if row["active"] else "off"
        print(f"{row['number']:4d}  {row['id']}  {state}  {row['prompt']} -> {row['answer']}")
    if not rows:
        print("There are no edits in the file.")
    return 0


def find(repository: ExpertRepository, names: list[str]) -> list[Expert]:
    """The experts named by number, id or 'all', each once; an unknown one is refused before any change."""
    found: dict[str, Expert] = {}
    for name in names:
        if name == "all":
            chosen = list(repository)
        elif name.isdecimal() and 1 <= int(name) <= len(repository):
            chosen = [repository.experts[int(name) - 1]]
        else:
            chosen = [repository.get(name)]
        found.update({expert.id: expert for expert in chosen})
    return list(found.values())


def export_edits(repository: ExpertRepository, folder: Path) -> None:
    """Write ``edits.json`` and one PNG per edit; a folder that already holds an export is refused."""
    if (folder / LISTING).exists():
        raise InputError(f"{folder} already holds exported edits: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, expert in enumerate(repository, start=1):
        name = f"edit-{number:04d}.png"
        expert.edit.image.convert("RGB").save(folder / name)
        rows.append(
            {
                "image": name,
                "prompt": expert.edit.prompt,
                "answer": expert.edit.target,
                "active": expert.active,
            }
        )
    (folder / LISTING).write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def import_edits(repository: ExpertRepository, args: argparse.Namespace) -> list[str]:
    """Add edits from a folder, edited anew in one batch, or experts from a file; returns the ids added."""
    source: Path = args.source
    if not source.is_dir():
        return repository.extend(options.load_edits(source, repository.config))
    edits, active = read_folder(source)
    ids = options.load_editor(args).edit(repository, edits)
    for expert_id, on in zip(ids, active, strict=True):
        repository.set_active(expert_id, on)
    return ids


def read_folder(folder: Path) -> tuple[list[Edit], list[bool]]:
    """The edits of an exported folder, and which of them are on."""
    from liveedit.pictures import open_picture

    path = folder / LISTING
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        named = [
            (
                folder / Path(row["image"]).name,
                str(row["prompt"]),
                str(row["answer"]),
                bool(row.get("active", True)),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no list of edits ({error!r}): give a folder made by `edits export`") from error
    return [Edit(open_picture(image), prompt, answer) for image, prompt, answer, _ in named], [row[3] for row in named]
