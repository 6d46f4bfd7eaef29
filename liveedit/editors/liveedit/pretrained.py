"""Trained LiveEdit editors in folders and on the hub: read, written, pushed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin
from huggingface_hub.errors import HTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from liveedit.backbones import Backbone
from liveedit.config import EditorConfig, load_json
from liveedit.editors.folder import CONFIG, WEIGHTS
from liveedit.editors.hub import CARD, editor_file, first_line, is_hub_id, model_card
from liveedit.experts.modules import LiveEditModules
from liveedit.types import EditorError

if TYPE_CHECKING:
    from typing_extensions import Self


def load_modules(path: str | Path, backbone: Backbone | None = None, **hub: Any) -> LiveEditModules:
    """The trained modules of an editor's folder or hub id; ``hub`` is passed on to :func:`editor_file`.

    One that was trained for another backbone than ``backbone`` is refused before its weights are fetched or read.
    """
    config = load_json(EditorConfig, editor_file(path, CONFIG, **hub))
    if backbone is not None and config.backbone not in ("", backbone.fingerprint):
        raise EditorError(
            f"the editor at {path} was trained for backbone {config.backbone}, this one is "
            f"{backbone.fingerprint}: load the backbone it was trained for"
        )
    weights = editor_file(path, WEIGHTS, **hub)
    try:
        modules = LiveEditModules(config)
        modules.load_state_dict(load_file(weights))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise EditorError(
            f"the editor at {path} is damaged ({str(error).splitlines()[0]}): restore it or train it again"
        ) from error
    return modules


def save_editor(path: str | Path, config: EditorConfig, modules: LiveEditModules) -> None:
    """Write an editor to a folder, as :meth:`LiveEdit.from_pretrained` reads it; no backbone is needed."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({n: t.contiguous().cpu() for n, t in modules.state_dict().items()}, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise EditorError(
            f"the editor could not be saved to {folder} ({error}): free some space or choose another place"
        ) from error


class Pretrained(
    ModelHubMixin,
    model_card_template=CARD,
    library_name="liveedit-workbench",
    license="apache-2.0",
    pipeline_tag="image-text-to-text",
    paper_url="https://arxiv.org/abs/2411.15432",
    tags=["model-editing", "vision-language", "lifelong-learning"],
):
    """The part of an editor that is loaded, saved and pushed: its configuration and its trained modules."""

    backbone: Backbone
    config: EditorConfig
    modules: LiveEditModules

    @classmethod
    def from_pretrained(  # type: ignore[override] # the mixin's has no place for the backbone
        cls, path: str | Path, backbone: Backbone, experts_on: str = "model", **hub: Any
    ) -> Self:
        """Load a trained editor from a folder or a hub id; one that was trained for another backbone is refused.

        One that does not know its backbone, as an imported one may, takes this one for its own. ``hub`` may hold
        ``revision``, ``cache_dir``, ``token`` and ``local_files_only``. Weights are read from safetensors alone.
        Raises :class:`EditorError` with what is missing, be it the folder, a file, the repository or the network.
        """
        modules = load_modules(path, backbone, **hub)
        config = replace(modules.config, backbone=backbone.fingerprint)
        return cls(backbone, config, modules, experts_on=experts_on)

    def save_pretrained(  # type: ignore[override] # nothing is pushed from here
        self,
        path: str | Path,
        results: Mapping[str, Any] | None = None,
        *,
        config: Any = None,
        model_card_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Write configuration, weights and, unless there is one, a model card to a folder.

        ``results`` is the JSON object of the command `evaluate`, for the card's table. ``config`` and
        ``model_card_kwargs`` are what the mixin's ``push_to_hub`` gives; the editor's own configuration is written.
        """
        save_editor(path, self.config, self.modules)
        card = Path(path) / "README.md"
        if not card.exists():
            self.generate_model_card(**{"results": results, **(model_card_kwargs or {})}).save(card)

    def generate_model_card(  # type: ignore[override] # filled from the editor itself
        self, results: Mapping[str, Any] | None = None, repo_id: str | None = None
    ) -> ModelCard:
        """The model card: what the editor is, how it is loaded, and what was measured."""
        data = ModelCardData(**self._hub_mixin_info.model_card_data.to_dict())
        if is_hub_id(self.backbone.name):
            data.base_model = self.backbone.name
        fields = model_card(results, self.backbone.name, self.config, repo_id)
        info = self._hub_mixin_info
        return ModelCard.from_template(data, template_str=info.model_card_template, paper_url=info.paper_url, **fields)

    def push_to_hub(  # type: ignore[override] # the results make the card
        self, repo_id: str, results: Mapping[str, Any] | None = None, **options: Any
    ) -> str:
        """Push configuration, weights and model card to a hub repository, made if need be; returns the commit's URL.

        ``options`` are the mixin's: ``private``, ``token``, ``branch``, ``create_pr``, ``commit_message``. Raises
        :class:`EditorError` when nobody is logged in, the name is taken, or the hub cannot be reached.
        """
        fill = {"results": results, "repo_id": repo_id}
        try:
            return super().push_to_hub(repo_id, model_card_kwargs=fill, **options)
        except (OSError, ValueError, HTTPError) as error:
            raise EditorError(
                f"the editor could not be pushed to {repo_id} ({first_line(error)}): check the name and the network, and "
                "log in with `hf auth login`"
            ) from error
