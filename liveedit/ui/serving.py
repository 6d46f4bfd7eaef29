"""What ``app.py`` and the command ``serve`` do with their flags: load both models and serve the page."""

from __future__ import annotations

import argparse
from dataclasses import fields

from liveedit.backbones import load_backbone
from liveedit.backbones.memory import pick_device
from liveedit.config import BackbonePlacement
from liveedit.editors import LiveEdit
from liveedit.editors.fit import check_fit
from liveedit.ui.allocator import share_arenas
from liveedit.ui.flags import choose_models
from liveedit.ui.page import launch
from liveedit.ui.spaces import package


def serve(args: argparse.Namespace) -> None:
    """Load both models and serve until interrupted; raises LiveEditError with one sentence when it cannot."""
    share_arenas()
    # A space that lends GPUs shows one to torch once its package is there.
    package()
    gpu = pick_device("auto").type == "cuda"
    models = choose_models(args.backbone, args.editor, args.device, gpu)
    check_fit(models.editor, models.backbone)
    placement = {field.name: getattr(args, field.name) for field in fields(BackbonePlacement)}
    editor = LiveEdit.from_pretrained(models.editor, load_backbone(models.backbone, **placement), args.experts_on)
    launch(editor, host=args.host, port=args.port, reason=models.reason, mcp=args.mcp)
