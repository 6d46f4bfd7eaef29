"""MEND: trained hyper-networks turn the gradient of an edit into changes of the last feed-forward weights.

Mitchell et al., ICLR 2022, https://arxiv.org/abs/2110.11309, as Chen et al., CVPR 2025, apply it to VLLMs (Table 4).
Edits follow one another: the gradient of each is taken on the model as the earlier ones left it, and the changes are
added up, not averaged. A state holds the sums; the backbone is never written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from liveedit.backbones import Backbone
from liveedit.backbones.parts import vision_modules
from liveedit.backbones.twin import exchange, exchanged, parameter_names
from liveedit.configs.mend import MendConfig
from liveedit.editors.folder import damaged, fingerprint_of, load_folder, save_folder
from liveedit.editors.grouped import GroupedEditor, Pass, one_model
from liveedit.editors.mend.networks import HyperNetworks, Tapped, edited_layers, edited_maps, gradients
from liveedit.editors.replay import EncodedEdit, encode_edit, replay
from liveedit.editors.state_file import load_tensors, save_tensors
from liveedit.types import Edit, EditorError, Query, RoutingTrace

NAME = "mend"
REASON = "The edits changed the model's last feed-forward weights; nothing is routed."


@dataclass
class SummedChanges:
    """The sum of all edits' changes of each weight, by its name in the model, in float32; ``owner`` made them."""

    owner: str
    count: int
    changes: dict[str, torch.Tensor]

    def nbytes(self) -> int:
        """Bytes of the changes, however many edits there were."""
        return sum(change.nbytes for change in self.changes.values())

    def save(self, path: Path) -> None:
        """Write the changes to one file."""
        save_tensors(path, self.owner, self.changes, {"count": self.count})


class Mend(GroupedEditor[SummedChanges]):
    """The editor: trained hyper-networks over a frozen backbone. Immutable; changes live in states."""

    def __init__(self, backbone: Backbone, config: MendConfig, networks: HyperNetworks | None = None) -> None:
        self.backbone, self.config = backbone, config
        self.maps = edited_maps(backbone, config)
        self.weights: dict[str, torch.Tensor] = {}
        for linear in self.maps:
            names = parameter_names(backbone.model, linear)
            self.weights.update({name: weight for name, weight in names.items() if weight is linear.weight})
        if not all(w.is_floating_point() and not w.is_meta for w in self.weights.values()):
            raise EditorError(
                "mend cannot edit weights that are quantized or offloaded: load the backbone without --quantize and "
                "--device-map"
            )
        device = next(iter(self.weights.values())).device
        found = networks or HyperNetworks.over(config, backbone)
        self.networks = found.to(device).float().eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone) -> Mend:
        """Load a trained editor from a folder; one that was trained for another backbone is refused."""
        config, tensors = load_folder(path, NAME, MendConfig, backbone)
        networks = HyperNetworks.over(config, backbone)
        try:
            networks.load_state_dict(tensors)
        except RuntimeError as error:
            raise damaged(path, error) from error
        return cls(backbone, config, networks)

    def save_pretrained(self, path: str | Path) -> None:
        """Write configuration and hyper-networks to a folder."""
        save_folder(path, NAME, self.config, self.networks.state_dict())

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration and the trained hyper-networks."""
        return fingerprint_of(NAME, self.config, self.networks.state_dict())

    @property
    def owner(self) -> str:
        """Whose a state is: this editor's, over this backbone."""
        return f"{self.fingerprint} on {self.backbone.fingerprint}"

    def empty(self) -> SummedChanges:
        """No edits: nothing is changed."""
        return SummedChanges(self.owner, 0, {})

    def load_state(self, path: Path, /) -> SummedChanges:
        """Read the changes that this editor over this backbone saved."""
        changes, notes = load_tensors(path, self.owner, self.backbone.device)
        return SummedChanges(self.owner, int(notes["count"]), changes)

    def edit(self, state: SummedChanges, edits: Sequence[Edit], /, *, template: bool = True) -> list[str]:
        """Apply one edit after another; returns their numbers. A refused edit leaves the state as it was."""
        self.check_edits(edits)
        ids = []
        for edit in edits:
            more = self._change(state, encode_edit(self.backbone, edit, template))
            state.changes = {name: state.changes.get(name, 0) + change for name, change in more.items()}
            ids.append(str(state.count))
            state.count += 1
        return ids

    def _change(self, state: SummedChanges, edit: EncodedEdit) -> dict[str, torch.Tensor]:
        """What one more edit adds to the weights, from its gradient on the model as it is."""
        untouched = self.backbone.layers[: edited_layers(self.backbone, self.config).start]
        below = replay(self.backbone, edit.batch, [*vision_modules(self.backbone), *untouched])
        weights = self._weights(state)
        taps = []
        for linear, (name, weight) in zip(self.maps, self.weights.items(), strict=True):
            inner = name.rsplit(".", 1)[-1]
            taps.append(Tapped(exchange(linear, weights={inner: weights.get(name, weight)})))
        with torch.enable_grad():
            loss = edit.loss(exchanged(self.backbone, {**below, **dict(zip(self.maps, taps, strict=True))}))
            factors = gradients(loss, taps, 1)
        with torch.no_grad():
            found = self.networks(factors)
        return {name: update.update() for name, update in zip(self.weights, found, strict=True)}

    def _weights(self, state: SummedChanges) -> dict[str, torch.Tensor]:
        """The edited weights, in the precision of those they stand for."""
        weights = self.weights
        return {name: (weights[name].float() + c).to(weights[name].dtype) for name, c in state.changes.items()}

    def passes(self, state: SummedChanges | None, queries: Sequence[Query], template: bool) -> list[Pass]:
        """One model answers everything: the backbone with the state's changes added to its weights."""
        if state is None or not state.count:
            return one_model(self.backbone, queries, RoutingTrace(reason="There are no edits."))
        return one_model(exchanged(self.backbone, weights=self._weights(state)), queries, RoutingTrace(reason=REASON))
