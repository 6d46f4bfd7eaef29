"""``serve``: the page, as ``python app.py`` starts it."""

from __future__ import annotations

import argparse

from liveedit.cli import options

NAME = "serve"
HELP = "Serve the page on which people edit and ask (the same as app.py)."
EXAMPLE = "python -m liveedit serve --port 7860"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, metavar="INT", help="port to listen on (default: 7860)")
    options.add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Load the models, build the page, and serve it until interrupted."""
    from liveedit.ui.serving import serve

    serve(args)
    return 0
