"""Transformer-Patcher (TP): one trained neuron per edit in the last feed-forward network.

Huang et al., ICLR 2023, https://arxiv.org/abs/2301.09785, as Chen et al., CVPR 2025, apply it to VLLMs (Table 3). A
neuron is a key k, a bias b and a value v: the network's output y(x) becomes y(x) + act(k.x + b) v. It is trained on
the edit (from the same inputs at every step), to be active on it, and to be silent on the states of a memory.
Earlier neurons stay as they are. Only positions that are read matter in the last layer, so only those are looked at.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from liveedit.backbones import Backbone
from liveedit.backbones.parts import FeedForward, feed_forward, vision_modules
from liveedit.backbones.twin import Recorder, Standin, exchanged
from liveedit.configs.tp import TP_PRESETS, PatcherConfig
from liveedit.editors.folder import configured, fingerprint_of
from liveedit.editors.grouped import BATCH, GroupedEditor, Pass, one_model
from liveedit.editors.replay import EncodedEdit, encode_edit, replay
from liveedit.editors.state_file import load_tensors, save_tensors
from liveedit.types import Edit, Query, RoutingTrace
from liveedit.world.cases import default_vocabulary, sample_case
from liveedit.world.scenes import render

NAME = "tp"
REASON = "Each edit added a neuron to the model's last feed-forward network; nothing is routed."
SIDE = 224  # pixels of the memory's pictures


@dataclass
class Neurons:
    """``keys`` [n, d], ``biases`` [n], ``values`` [n, d], in float32; ``count`` edits; ``owner`` made them."""

    owner: str
    count: int
    keys: torch.Tensor
    biases: torch.Tensor
    values: torch.Tensor

    def nbytes(self) -> int:
        """Bytes of all neurons."""
        return self.keys.nbytes + self.biases.nbytes + self.values.nbytes

    def save(self, path: Path) -> None:
        """Write the neurons to one file."""
        tensors = {"keys": self.keys, "biases": self.biases, "values": self.values}
        save_tensors(path, self.owner, tensors, {"count": self.count})

    def with_more(self, keys: torch.Tensor, biases: torch.Tensor, values: torch.Tensor) -> Neurons:
        """These neurons and new ones behind them."""
        return Neurons(
            self.owner,
            self.count,
            torch.cat((self.keys, keys)),
            torch.cat((self.biases, biases)),
            torch.cat((self.values, values)),
        )


class Patched(Standin):
    """A feed-forward network with neurons added: y(x) + act(x K^T + b) V."""

    def __init__(self, network: nn.Module, activation: nn.Module, neurons: Neurons) -> None:
        super().__init__(network)
        self.activation, self.neurons = activation, neurons

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [.., d] to [.., d]."""
        n = self.neurons
        active = self.activation(x.float() @ n.keys.T + n.biases)
        output: torch.Tensor = self.original(x)
        return output + (active @ n.values).to(output.dtype)


class WiderIn(Standin):
    """The map into the network, with the new neurons' inputs behind its own outputs."""

    def __init__(self, linear: nn.Module, neurons: Neurons) -> None:
        super().__init__(linear)
        self.neurons = neurons

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [.., d] to [.., hidden + n]."""
        output: torch.Tensor = self.original(x)
        added = x.float() @ self.neurons.keys.T + self.neurons.biases
        return torch.cat((output, added.to(output.dtype)), -1)


class WiderOut(Standin):
    """The map out of the network, which reads the new neurons' activations behind its own inputs."""

    def __init__(self, linear: nn.Module, neurons: Neurons) -> None:
        super().__init__(linear)
        self.neurons = neurons

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden [.., hidden + n] to [.., d]."""
        count = len(self.neurons.biases)
        output: torch.Tensor = self.original(hidden[..., :-count])
        return output + (hidden[..., -count:].float() @ self.neurons.values).to(output.dtype)


def patches(network: FeedForward, neurons: Neurons) -> dict[nn.Module, nn.Module]:
    """What to exchange in the model so that its network has the neurons."""
    if network.whole is not None:
        return {network.whole: Patched(network.whole, network.activation, neurons)}
    return {network.inputs[0]: WiderIn(network.inputs[0], neurons), network.down: WiderOut(network.down, neurons)}


class TransformerPatcher(GroupedEditor[Neurons]):
    """TP over a frozen backbone. Immutable; the neurons live in states."""

    def __init__(self, backbone: Backbone, config: PatcherConfig) -> None:
        self.backbone, self.config = backbone, config
        self.network = feed_forward(backbone, len(backbone.layers) - 1)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone) -> TransformerPatcher:
        """Nothing is trained beforehand: ``path`` is a preset, a configuration, or empty."""
        return cls(backbone, configured(path, NAME, TP_PRESETS, backbone.hidden_size))

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration."""
        return fingerprint_of(NAME, self.config)

    @property
    def owner(self) -> str:
        """Whose a state is: this editor's, over this backbone."""
        return f"{self.fingerprint} on {self.backbone.fingerprint}"

    def empty(self) -> Neurons:
        """No neurons."""
        width, device = self.backbone.hidden_size, self.backbone.device
        none = torch.zeros(0, width, device=device)
        return Neurons(self.owner, 0, none, torch.zeros(0, device=device), none.clone())

    def load_state(self, path: Path, /) -> Neurons:
        """Read the neurons that an editor of this configuration over this backbone saved."""
        tensors, notes = load_tensors(path, self.owner, self.backbone.device)
        return Neurons(self.owner, int(notes["count"]), tensors["keys"], tensors["biases"], tensors["values"])

    def edit(self, state: Neurons, edits: Sequence[Edit], /, *, template: bool = True) -> list[str]:
        """Train the neurons of one edit after another; returns their numbers. A refused edit changes nothing."""
        self.check_edits(edits)
        ids = []
        for edit in edits:
            more = state.with_more(*self._train(state, encode_edit(self.backbone, edit, template)))
            state.keys, state.biases, state.values = more.keys, more.biases, more.values
            ids.append(str(state.count))
            state.count += 1
        return ids

    @cached_property
    def memory(self) -> torch.Tensor:
        """States [m, d] that the last network reads where the unedited model answers questions of the world."""
        rng, pixels = random.Random(self.config.seed), np.random.default_rng(self.config.seed)
        found: list[torch.Tensor] = []
        vocabulary = default_vocabulary()
        for start in range(0, self.config.memory, BATCH):
            count = min(BATCH, self.config.memory - start)
            cases = [sample_case(rng, pixels, "train", vocabulary, ()) for _ in range(count)]
            shown = [Image.fromarray(render(case.unrelated.scene, SIDE)) for case in cases]
            for pictures, asked in (
                (shown, [(case.unrelated.prompt, case.unrelated.truth) for case in cases]),
                ([None] * count, [(case.text.prompt, case.text.answer) for case in cases]),
            ):
                answers = [self.backbone.answer_ids(truth, False) for _, truth in asked]
                batch = self.backbone.encode(pictures, [prompt for prompt, _ in asked], answers, False)
                states = self._read(batch)
                for row, answer in zip(states, answers, strict=True):
                    found.append(row[-len(answer) - 1 :])
        return torch.cat(found).float()

    @torch.no_grad()
    def _read(self, batch: Any) -> torch.Tensor:
        """What the last network reads [B, T, d], from the unedited model."""
        first = self.network.whole or self.network.inputs[0]
        recorder = Recorder(first)
        exchanged(self.backbone, {first: recorder}).forward(batch, use_cache=False)
        states = recorder.given
        return states.view(*batch.input_ids.shape, states.shape[-1])

    def _train(self, state: Neurons, edit: EncodedEdit) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keys [n, d], biases [n] and values [n, d] of the neurons of one edit."""
        config, memory = self.config, self.memory
        below = [*vision_modules(self.backbone), *self.backbone.layers[:-1]]
        known = replay(self.backbone, edit.batch, below)
        # Before each token of the target stands one state; the key starts as it, so that it is active from the start.
        queries = self._read(edit.batch)[0, -len(edit.target) - 1 : -1].float()
        own = queries if config.neurons == "token" else queries.mean(0, keepdim=True)
        with torch.enable_grad():
            keys = (own / own.square().sum(-1, keepdim=True)).clone().requires_grad_(True)
            biases = torch.zeros(len(own), device=own.device, requires_grad=True)
            unscaled = torch.zeros_like(own, requires_grad=True)
            optimizer = torch.optim.Adam([keys, biases, unscaled], lr=config.learning_rate)
            for _ in range(config.iterations):
                now = state.with_more(keys, biases, config.amplify * unscaled)
                edited = exchanged(self.backbone, {**known, **patches(self.network, now)})
                read = queries @ keys.T + biases
                own_read = read.diagonal() if config.neurons == "token" else read[:, 0]
                loss = edit.loss(edited) + config.activation_weight * torch.exp(-own_read).mean()
                elsewhere = memory @ keys.T + biases
                silent = elsewhere + config.margin
                apart = (
                    elsewhere[:, None] - (own_read[:, None] if config.neurons == "edit" else own_read[None])
                ) + config.margin
                loss = loss + config.memory_weight * (self._hardest(silent) + self._hardest(apart))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
        return keys.detach(), biases.detach(), config.amplify * unscaled.detach()

    def _hardest(self, excess: torch.Tensor) -> torch.Tensor:
        """Mean of the exponentials of the largest entries, which are bounded so that they stay finite."""
        flat = excess.flatten()
        return flat.topk(min(self.config.hardest, len(flat))).values.clamp(max=10.0).exp().mean()

    def passes(self, state: Neurons | None, queries: Sequence[Query], template: bool) -> list[Pass]:
        """One model answers everything: the backbone with the state's neurons."""
        if state is None or not state.count:
            return one_model(self.backbone, queries, RoutingTrace(reason="There are no edits."))
        edited = exchanged(self.backbone, patches(self.network, state))
        return one_model(edited, queries, RoutingTrace(reason=REASON))
