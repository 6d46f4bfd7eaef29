"""LEMoE: lifelong editing with a mixture of experts.

Wang and Li, EMNLP 2024, https://arxiv.org/abs/2406.20030. Every batch of edits gets an expert of its own beside one
feed-forward network, trained on them while earlier experts stay frozen, and a key vector, trained with it, by which
inputs are routed: each goes through the one expert whose key it is most similar to. There is no "none": with one
expert everything goes through it, and of many the nearest acts even where no edit is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import torch
from torch.nn import functional as F

from liveedit.backbones import Backbone, EncodedBatch
from liveedit.backbones.split import SplitForward
from liveedit.configs.lemoe import LEMOE_PRESETS, LemoeConfig
from liveedit.editors.folder import configured, fingerprint_of
from liveedit.editors.grouped import GroupedEditor, Pass, alike, one_model
from liveedit.editors.memory import NO_EDITS
from liveedit.editors.mixture import RowExperts, with_experts
from liveedit.editors.pooled import check_layer, layer_states, mean_over
from liveedit.editors.state_file import load_tensors, save_tensors
from liveedit.losses import answer_loss
from liveedit.types import Edit, ExpertTraces, Query, RepositoryError, RoutingTrace

NAME = "lemoe"


@dataclass
class Experts:
    """Experts in the order in which they were made: ``up`` [E, w, d], ``down`` [E, d, w], ``keys`` [E, 2d].

    ``expert_of`` is the number of each edit's expert; ``owner`` the fingerprint of editor and backbone.
    """

    owner: str
    up: torch.Tensor
    down: torch.Tensor
    keys: torch.Tensor
    expert_of: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The edits' ids: their numbers, from 1."""
        return [str(number + 1) for number in range(len(self.expert_of))]

    def nbytes(self) -> int:
        """Bytes of experts and keys."""
        return sum(t.numel() * t.element_size() for t in (self.up, self.down, self.keys))

    def save(self, path: Path) -> None:
        """Write the experts to one file."""
        tensors = {"up": self.up, "down": self.down, "keys": self.keys}
        save_tensors(path, self.owner, tensors, {"expert_of": self.expert_of})


class Lemoe(GroupedEditor[Experts]):
    """LEMoE over a frozen backbone."""

    def __init__(self, backbone: Backbone, config: LemoeConfig) -> None:
        check_layer(backbone, config.layer)
        self.backbone, self.config = backbone, config

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, /) -> Lemoe:
        """LEMoE of a configuration file or preset; an empty path takes the preset that fits the backbone."""
        return cls(backbone, configured(path, NAME, LEMOE_PRESETS, backbone.hidden_size))

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration."""
        return fingerprint_of(NAME, self.config)

    @property
    def owner(self) -> str:
        """Who can read the states: this configuration on this backbone."""
        return f"{self.fingerprint} on {self.backbone.fingerprint}"

    def empty(self) -> Experts:
        """No experts."""
        d, w, device = self.backbone.hidden_size, self.config.expert_width, self.backbone.device
        return Experts(
            self.owner,
            torch.zeros(0, w, d, device=device),
            torch.zeros(0, d, w, device=device),
            torch.zeros(0, 2 * d, device=device),
        )

    def load_state(self, path: Path, /) -> Experts:
        """Read experts that an editor of this configuration saved for this backbone."""
        tensors, notes = load_tensors(path, self.owner, self.backbone.device)
        try:
            state = Experts(self.owner, tensors["up"], tensors["down"], tensors["keys"], list(notes["expert_of"]))
            if state.expert_of and max(state.expert_of) >= len(state.keys):
                raise ValueError("an edit has no expert")
        except (KeyError, TypeError, ValueError) as error:
            raise RepositoryError(f"the file of edits {path} is damaged ({error}): delete it") from error
        return state

    def edit(self, state: Experts, edits: Sequence[Edit], /, *, template: bool = True) -> list[str]:
        """Train one expert and its key for every batch of edits; returns the edits' ids."""
        self.check_edits(edits)
        first = len(state.expert_of)
        groups = ceil(len(edits) / self.config.batch)
        for group in range(groups):
            part = edits[group * len(edits) // groups : (group + 1) * len(edits) // groups]
            answers = [[*self.backbone.answer_ids(e.target, template), self.backbone.eos_id] for e in part]
            batch = self.backbone.encode([e.image for e in part], [e.prompt for e in part], answers, template)
            self.add_expert(state, batch)
            state.expert_of += [len(state.keys) - 1] * len(part)
        return state.ids[first:]

    def add_expert(self, state: Experts, batch: EncodedBatch) -> None:
        """Train an expert and its key on encoded edits; those that are there stay as they are."""
        c, device = self.config, self.backbone.device
        lower = SplitForward(self.backbone, c.layer - 1).states(batch)
        feature = self.features(lower.hidden, batch)
        d, w = self.backbone.hidden_size, c.expert_width
        draw = torch.Generator().manual_seed(c.seed + len(state.keys))
        up = (torch.randn(1, w, d, generator=draw) / d**0.5).to(device).requires_grad_(True)
        down = torch.zeros(1, d, w, device=device, requires_grad=True)
        key = F.normalize(feature.mean(0, keepdim=True), dim=-1).clone().requires_grad_(True)
        twin = with_experts(self.backbone, c.layer, RowExperts(up, down))
        split = SplitForward(twin, c.layer - 1)
        groups = [{"params": [up, down], "lr": c.learning_rate}, {"params": [key], "lr": c.key_rate}]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        with torch.enable_grad():
            for _ in range(c.steps):
                final = split.upper(lower, lower.hidden)
                losses = _losses(self.backbone.head, final, batch)
                routing = self.routing_loss(feature, state.keys, key)
                optimizer.zero_grad()
                (losses.mean() + routing).backward()  # type: ignore[no-untyped-call]
                if float(losses.detach().mean()) < c.stop_loss:
                    break
                optimizer.step()
        state.up = torch.cat([state.up, up.detach()])
        state.down = torch.cat([state.down, down.detach()])
        state.keys = torch.cat([state.keys, key.detach()])

    def features(self, hidden: torch.Tensor, batch: EncodedBatch) -> torch.Tensor:
        """What inputs are routed by [B, 2d], of unit length: their picture's and their prompt's mean state."""
        parts = [mean_over(hidden.float(), batch.part(name)) for name in ("vision", "prompt")]
        return F.normalize(torch.cat(parts, 1), dim=-1)

    def similarity(self, feature: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Similarities [B, E] of inputs to keys."""
        return self.config.sharpness * feature @ F.normalize(keys, dim=-1).T

    def routing_loss(self, feature: torch.Tensor, known: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """The new key shall be nearer to its edits than the frozen ones are, and near to them at all."""
        similarity = self.similarity(feature, torch.cat([known, key]))
        away = 1 - similarity[:, -1] / self.config.sharpness
        return (torch.logsumexp(similarity, 1) - similarity[:, -1]).mean() + away.mean()

    @torch.no_grad()
    def passes(self, state: Experts | None, queries: Sequence[Query], template: bool) -> list[Pass]:
        """Every question goes through the expert that it is routed to."""
        if state is None or not len(state.keys):
            return one_model(self.backbone, queries, RoutingTrace(reason=NO_EDITS))
        passes = []
        for rows in alike(queries):
            asked = [queries[i] for i in rows]
            batch = self.backbone.encode([q.image for q in asked], [q.prompt for q in asked], None, template)
            hidden = layer_states(self.backbone, self.config.layer - 1, batch)
            similarity = self.similarity(self.features(hidden, batch), state.keys)
            chosen = similarity.argmax(1)
            twin = with_experts(self.backbone, self.config.layer, RowExperts(state.up[chosen], state.down[chosen]))
            traces = [_trace(state, row, best) for row, best in zip(similarity.tolist(), chosen.tolist(), strict=True)]
            passes.append(Pass(rows, twin, asked, traces))
        return passes


def _losses(head: torch.nn.Module, final: torch.Tensor, batch: EncodedBatch) -> torch.Tensor:
    """-log probability of each row's answer, from final states [B, T, d]: [B]."""
    answer = batch.part("answer")
    before = torch.zeros_like(answer)
    before[:, :-1] = answer[:, 1:]
    number = torch.arange(len(answer), device=answer.device)[:, None].expand_as(answer)
    logits = head(final[before].to(next(head.parameters()).dtype)).float()
    return answer_loss(logits, batch.input_ids[answer], number[answer], len(answer))


def _trace(state: Experts, similarity: Sequence[float], chosen: int) -> RoutingTrace:
    """The edits of the chosen expert pass together; they share its weight."""
    count = len(state.expert_of)
    near = [similarity[expert] for expert in state.expert_of]
    passed = [expert == chosen for expert in state.expert_of]
    share = 1 / max(1, sum(passed))
    weight = [share * p for p in passed]
    none = [0.0] * count
    columns = (state.ids, [True] * count, near, none, near, passed, none, weight, weight, weight)
    return RoutingTrace(ExpertTraces(columns), 0.0, 0.0, True, "")
