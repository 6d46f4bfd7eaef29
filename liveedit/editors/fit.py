"""Whether a trained editor can be for a backbone, told from configurations and files before either is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from liveedit.backbones.checkpoint import read_config, stored_fingerprint
from liveedit.backbones.checks import layer_refusal, width_of
from liveedit.config import EditorConfig
from liveedit.editors.folder import CONFIG
from liveedit.editors.hub import editor_file
from liveedit.types import EditorError


def fit_refusal(hidden_size: int | None, layer: int | None, model: Any) -> str | None:
    """Why an editor of this width and layer cannot be for a backbone of configuration ``model``; None when it can."""
    if hidden_size is not None and hidden_size != width_of(model):
        return (
            f"the editor is for width {hidden_size}, the {model.model_type} backbone has {width_of(model)}: "
            "use the matching pair"
        )
    return None if layer is None else layer_refusal(model, layer)


def check_layer_of(config: Any, model: Any) -> None:
    """Refuse the configuration of a baseline whose layer, if it has one, the backbone of configuration ``model`` lacks."""
    if refusal := fit_refusal(None, getattr(config, "layer", None), model):
        raise EditorError(refusal)


def check_architecture(config: EditorConfig, model: Any) -> None:
    """Refuse an editor of LiveEdit's whose width or layer the backbone of configuration ``model`` does not have."""
    if refusal := fit_refusal(config.hidden_size, config.layer, model):
        raise EditorError(refusal)


def check_fit(editor: str | Path, backbone: str | Path) -> None:
    """Refuse a trained editor (folder or hub id) that cannot be for a backbone (folder or hub id).

    Another kind of model, another width and a layer outside it are told from the configurations alone, other weights
    of the same sizes from a sample of the backbone's files where they are here. Where they are not, or do not tell,
    that is left to the fingerprint of the loaded backbone.
    """
    path = editor_file(editor, CONFIG)
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EditorError(f"the editor at {editor} is damaged ({error}): restore it or train it again") from error
    if not isinstance(values, dict):
        raise EditorError(f"the editor at {editor} is damaged ({CONFIG} is no JSON object): restore it or train it again")
    model = read_config(backbone)
    fingerprint = str(values.get("backbone") or "")
    kind = fingerprint.rpartition("-")[0]
    if kind and kind != model.model_type:
        raise EditorError(
            f"the editor at {editor} was trained for backbone {fingerprint}, {backbone} is a {model.model_type}: "
            "load the backbone it was trained for"
        )
    sizes = [value if isinstance(value, int) else None for value in (values.get("hidden_size"), values.get("layer"))]
    if refusal := fit_refusal(sizes[0], sizes[1], model):
        raise EditorError(f"the editor at {editor} does not fit {backbone}: {refusal}")
    found = stored_fingerprint(backbone, model) if fingerprint else None
    if found not in (None, fingerprint):
        raise EditorError(
            f"the editor at {editor} was trained for backbone {fingerprint}, {backbone} is {found}: "
            "load the backbone it was trained for"
        )
