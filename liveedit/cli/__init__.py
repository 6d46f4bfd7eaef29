"""The command line: one module per command, found by name and imported only when needed.

A command module defines ``NAME``, ``HELP`` and ``EXAMPLE``, ``add_arguments(parser)`` and
``run(args) -> int``; where options depend on an argument, ``add_arguments(parser, given)``. ``args.words`` is the whole
command as it was typed. It imports torch and the models inside ``run``, so that ``--help`` is quick. With ``--json`` a
command prints exactly one JSON object on stdout; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import ast
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

from liveedit.types import LiveEditError

COMMANDS: dict[str, str] = {
    "ask": "liveedit.cli.ask",
    "edit": "liveedit.cli.edit",
    "edits": "liveedit.cli.edits",
    "attribute": "liveedit.cli.attribute",
    "pointing": "liveedit.cli.pointing",
    "evaluate": "liveedit.cli.evaluate",
    "evaluate-backbone": "liveedit.cli.evaluate_backbone",
    "lifelong": "liveedit.cli.lifelong",
    "report": "liveedit.cli.report",
    "study": "liveedit.cli.study",
    "compare": "liveedit.cli.compare",
    "plan": "liveedit.cli.plan",
    "check-data": "liveedit.cli.check_data",
    "train": "liveedit.cli.train",
    "pretrain": "liveedit.cli.pretrain",
    "world": "liveedit.cli.world",
    "assemble-minigpt4": "liveedit.cli.assemble_minigpt4",
    "import-reference": "liveedit.cli.import_reference",
    "serve": "liveedit.cli.serve",
}

USER_ERROR = 2
INTERRUPTED = 130
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def build_parser(chosen: str | None = None, given: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser with ``chosen``'s options, or, when there is none, with every command's name and help alone.

    ``given`` are the command's arguments, for a command whose options depend on one of them.
    """
    parser = argparse.ArgumentParser(
        prog="python -m liveedit",
        description="Edit a vision-language model, ask it again, and see why it answers so.",
        epilog="python -m liveedit COMMAND --help explains a command and gives an example.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    if chosen is None:
        for name in COMMANDS:
            commands.add_parser(name, help=help_text(name))
        return parser
    module = import_module(COMMANDS[chosen])
    sub = commands.add_parser(
        chosen,
        help=module.HELP,
        description=module.HELP,
        epilog=f"example: {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if "given" in signature(module.add_arguments).parameters:
        module.add_arguments(sub, given)
    else:
        module.add_arguments(sub)
    sub.set_defaults(run=module.run)
    return parser


def help_text(name: str) -> str:
    """A command's HELP, read from its source: importing them all, with torch, would make the list slow."""
    spec = find_spec(COMMANDS[name])
    if spec is None or spec.origin is None:
        return ""
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP":
            return str(ast.literal_eval(node.value))
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 2 for a user's error, 130 when interrupted."""
    given = list(sys.argv[1:] if argv is None else argv)
    chosen = given[0] if given and given[0] in COMMANDS else None
    try:
        args = build_parser(chosen, given[1:]).parse_args(given, argparse.Namespace(words=given))
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except LiveEditError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (as `| head` does); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _refuse(sentence_of(error))
    except RuntimeError as error:
        # torch reports a full disk as a RuntimeError of its own file writer.
        if "PytorchStreamWriter" not in str(error):
            raise
        return _refuse("a checkpoint could not be written: free some space on the disk and use --resume")


def sentence_of(error: OSError) -> str:
    """What a failed file operation means to a person."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno in _FULL_DISK:
        return f"the disk is full and the file{where} cannot be written: free some space or go elsewhere"
    reason = error.strerror or str(error) or type(error).__name__
    return f"the file{where} cannot be used ({reason}): check the path and its permissions"


def _refuse(sentence: str) -> int:
    """Say one sentence on stderr."""
    print(f"error: {_one_line(sentence)}", file=sys.stderr)
    return USER_ERROR


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())
