"""Fine-tuning, one edit after another: FT-L (the last language layer) and FT-M (the bridge from vision to language).

As the baselines of Chen et al., CVPR 2025, https://arxiv.org/abs/2411.15432, Section 7.3 and Table 3: AdamW on the
edit's target until its loss is small. What an edit changes stays for all later ones. A state holds the changed
weights; the backbone is never written to (see :mod:`liveedit.backbones.twin`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from liveedit.backbones import Backbone
from liveedit.backbones.parts import bridge, vision_modules, vision_tower
from liveedit.backbones.twin import exchanged, parameter_names
from liveedit.configs.ft import FT_PRESETS, FineTuningConfig
from liveedit.editors.folder import configured, fingerprint_of
from liveedit.editors.grouped import GroupedEditor, Pass, one_model
from liveedit.editors.replay import EncodedEdit, encode_edit, replay
from liveedit.editors.state_file import load_tensors, save_tensors
from liveedit.types import Edit, EditorError, Query, RoutingTrace


@dataclass
class ChangedWeights:
    """The weights that edits have changed, by their names in the model, in float32; ``owner`` made them."""

    owner: str
    count: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def nbytes(self) -> int:
        """Bytes of the changed weights, however many edits there were."""
        return sum(weight.nbytes for weight in self.weights.values())

    def save(self, path: Path) -> None:
        """Write the weights to one file."""
        save_tensors(path, self.owner, self.weights, {"count": self.count})


class FineTuning(GroupedEditor[ChangedWeights]):
    """What FT-L and FT-M share; they differ in the part that is tuned, and so in what has to run again."""

    NAME: ClassVar[str]
    REASON: ClassVar[str]

    def __init__(self, backbone: Backbone, config: FineTuningConfig) -> None:
        self.backbone, self.config = backbone, config
        self.tuned = parameter_names(backbone.model, self.part())
        if not all(p.is_floating_point() and not p.is_meta for p in self.tuned.values()):
            raise EditorError(
                f"{self.NAME} cannot fine-tune weights that are quantized or offloaded: load the backbone without "
                "--quantize and --device-map"
            )

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone) -> Any:
        """Nothing is trained beforehand: ``path`` is a preset, a configuration, or empty."""
        return cls(backbone, configured(path, cls.NAME, FT_PRESETS, backbone.hidden_size))

    @abstractmethod
    def part(self) -> nn.Module:
        """The module that is tuned."""

    @abstractmethod
    def below(self) -> Sequence[nn.Module]:
        """The modules whose output no edit changes, so that they run once an edit: those below the tuned part."""

    @property
    def fingerprint(self) -> str:
        """A short name of the kind and its configuration."""
        return fingerprint_of(self.NAME, self.config)

    @property
    def owner(self) -> str:
        """Whose a state is: this editor's, over this backbone."""
        return f"{self.fingerprint} on {self.backbone.fingerprint}"

    def empty(self) -> ChangedWeights:
        """No edits: nothing is changed."""
        return ChangedWeights(self.owner)

    def load_state(self, path: Path, /) -> ChangedWeights:
        """Read the weights that an editor of this configuration over this backbone saved."""
        weights, notes = load_tensors(path, self.owner, self.backbone.device)
        return ChangedWeights(self.owner, int(notes["count"]), weights)

    def edit(self, state: ChangedWeights, edits: Sequence[Edit], /, *, template: bool = True) -> list[str]:
        """Fine-tune on one edit after another; returns their numbers. A refused edit leaves the state as it was."""
        self.check_edits(edits)
        ids = []
        for edit in edits:
            state.weights = self._tune(state.weights, encode_edit(self.backbone, edit, template))
            ids.append(str(state.count))
            state.count += 1
        return ids

    def _tune(self, weights: dict[str, torch.Tensor], edit: EncodedEdit) -> dict[str, torch.Tensor]:
        """The weights after one more edit."""
        with torch.enable_grad():
            now = {
                name: weights.get(name, original).detach().float().clone().requires_grad_(True)
                for name, original in self.tuned.items()
            }
            optimizer = torch.optim.AdamW(
                now.values(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
            )
            known = replay(self.backbone, edit.batch, self.below())
            for _ in range(self.config.iterations):
                loss = edit.loss(exchanged(self.backbone, known, self._typed(now)))
                if loss.item() < self.config.stop_loss:
                    break
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
        return {name: weight.detach() for name, weight in now.items()}

    def _typed(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights in the precision of those they stand for."""
        return {name: weight.to(self.tuned[name].dtype) for name, weight in weights.items()}

    def passes(self, state: ChangedWeights | None, queries: Sequence[Query], template: bool) -> list[Pass]:
        """One model answers everything: the backbone with the state's weights in place of its own."""
        if state is None or not state.count:
            return one_model(self.backbone, queries, RoutingTrace(reason="There are no edits."))
        edited = exchanged(self.backbone, weights=self._typed(state.weights))
        return one_model(edited, queries, RoutingTrace(reason=self.REASON))


class FineTuneLanguage(FineTuning):
    """FT-L: the last decoder layer, all of its weights."""

    NAME = "ft-l"
    REASON = "The model's last language layer was fine-tuned on the edits; nothing is routed."

    def part(self) -> nn.Module:
        """The last decoder layer."""
        return self.backbone.layers[-1]

    def below(self) -> Sequence[nn.Module]:
        """Vision, the bridge, and all decoder layers but the last."""
        return [*vision_modules(self.backbone), *self.backbone.layers[:-1]]


class FineTuneModality(FineTuning):
    """FT-M: the projector or the Q-Former. What is asked without a picture never meets it (T-Loc is 100)."""

    NAME = "ft-m"
    REASON = "The model's bridge from vision to language was fine-tuned on the edits; nothing is routed."

    def part(self) -> nn.Module:
        """The projector or the Q-Former."""
        return bridge(self.backbone)

    def below(self) -> Sequence[nn.Module]:
        """The vision tower, where the bridge is not inside it."""
        return [vision_tower(self.backbone)] if len(vision_modules(self.backbone)) > 1 else []
