"""The flags of the page with their defaults from the environment, and which models they choose."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from liveedit.config import BackbonePlacement

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
BACKBONE, EDITOR = CHECKPOINTS / "emoji-llava", CHECKPOINTS / "emoji-llava-liveedit"
EMBEDDED = "It runs because no other model is configured."


@dataclass(frozen=True)
class Models:
    """A backbone and its editor (folders or hub ids), and a sentence for the page that says why these."""

    backbone: str
    editor: str
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the page; environment variables give their defaults."""
    env = os.environ.get
    parser.add_argument(
        "--backbone", metavar="PATH",
        help="folder or hub id of the vision-language model (LIVEEDIT_BACKBONE; default: the embedded one)",
    )  # fmt: skip
    parser.add_argument(
        "--editor", metavar="PATH", help="folder or hub id of the editor trained for it (LIVEEDIT_EDITOR)"
    )
    # Hosted spaces name the address to listen on in Gradio's own variable.
    host = env("LIVEEDIT_HOST") or env("GRADIO_SERVER_NAME") or "127.0.0.1"
    parser.add_argument("--host", default=host, help="address to listen on (LIVEEDIT_HOST; default: 127.0.0.1)")
    port = env("LIVEEDIT_PORT") or env("GRADIO_SERVER_PORT") or "7860"
    parser.add_argument(
        "--port", type=int, default=port, metavar="INT", help="port to listen on (LIVEEDIT_PORT; default: 7860)"
    )
    for field in fields(BackbonePlacement):
        variable = f"LIVEEDIT_{field.name.upper()}"
        parser.add_argument(
            "--" + field.name.replace("_", "-"), default=env(variable, field.default), metavar="NAME",
            help=f"{field.metadata['help']} ({variable}; default: {field.default or 'none'})",
        )  # fmt: skip
    parser.add_argument(
        "--experts-on", default=env("LIVEEDIT_EXPERTS_ON", "model"), metavar="PLACE",
        help="keep all experts beside the model, or on the cpu but for those that are routed "
        "(LIVEEDIT_EXPERTS_ON; default: model)",
    )  # fmt: skip
    # A hosted space is found by its tags, and the README's say that it is an MCP server.
    mcp = env("LIVEEDIT_MCP") or ("1" if env("SPACE_ID") else "0")
    parser.add_argument(
        "--mcp", action="store_true", default=mcp != "0",
        help="offer the API to language models too, as an MCP server (LIVEEDIT_MCP=1, or 0 for none; default: on a "
        "hosted space alone; needs gradio[mcp])",
    )  # fmt: skip


def choose_models(
    backbone: str | None, editor: str | None, device: str, gpu: bool, environ: Mapping[str, str] = os.environ
) -> Models:
    """The models to serve.

    Flags decide. Without them LIVEEDIT_BACKBONE and LIVEEDIT_EDITOR do, when both are set and there is a GPU, or when
    a ``device`` is named on which they shall run all the same; otherwise the embedded models are served, and the
    reason says what is missing.
    """
    if backbone or editor:
        return Models(backbone or str(BACKBONE), editor or str(EDITOR), "")
    named, trained = environ.get("LIVEEDIT_BACKBONE", ""), environ.get("LIVEEDIT_EDITOR", "")
    embedded = Models(str(BACKBONE), str(EDITOR), EMBEDDED)
    if not named and not trained:
        return embedded
    if not named or not trained:
        set_one, other = ("LIVEEDIT_BACKBONE", "LIVEEDIT_EDITOR") if named else ("LIVEEDIT_EDITOR", "LIVEEDIT_BACKBONE")
        why = f"{set_one} is set but {other} is not: a backbone and the editor trained for it go together"
        return Models(embedded.backbone, embedded.editor, f"It runs because {why}.")
    if not gpu and device == "auto":
        why = f"there is no GPU for {_short(named)}; LIVEEDIT_DEVICE=cpu would run that here, slowly"
        return Models(embedded.backbone, embedded.editor, f"It runs because {why}.")
    return Models(named, trained, f"It runs because LIVEEDIT_BACKBONE and LIVEEDIT_EDITOR name it{_where(gpu)}.")


def _short(name: str) -> str:
    """A hub id as it is, of a folder its name alone: the page tells nobody where things lie on the server."""
    return Path(name).name if Path(name).exists() or Path(name).is_absolute() else name


def _where(gpu: bool) -> str:
    return " and there is a GPU" if gpu else ""
