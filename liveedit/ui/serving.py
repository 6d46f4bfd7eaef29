"""What ``app.py`` and the command ``serve`` do with their flags: load both models and serve the page."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
from dataclasses import fields

from liveedit.backbones import load_backbone
from liveedit.backbones.memory import pick_device
from liveedit.config import BackbonePlacement
from liveedit.editors import LiveEdit
from liveedit.editors.fit import check_fit
from liveedit.ui.flags import choose_models
from liveedit.ui.page import launch
from liveedit.ui.spaces import package

M_ARENA_MAX = -8  # of glibc's malloc.h


def serve(args: argparse.Namespace) -> None:
    """Load both models and serve until interrupted; raises LiveEditError with one sentence when it cannot."""
    _share_arenas()
    # A space that lends GPUs shows one to torch once its package is there.
    package()
    gpu = pick_device("auto").type == "cuda"
    models = choose_models(args.backbone, args.editor, args.device, gpu)
    check_fit(models.editor, models.backbone)
    placement = {field.name: getattr(args, field.name) for field in fields(BackbonePlacement)}
    editor = LiveEdit.from_pretrained(models.editor, load_backbone(models.backbone, **placement), args.experts_on)
    launch(editor, host=args.host, port=args.port, reason=models.reason, mcp=args.mcp)


def _share_arenas() -> None:
    """Let all threads allocate from two arenas: glibc gives each thread its own, and what one visitor's thread freed would
    serve no other's."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
