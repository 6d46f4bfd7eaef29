"""What happens at layer l_e while a question is read and answered: routing once, then the fused residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from liveedit.backbones import EncodedBatch
from liveedit.experts import ExpertRepository, Routing, route
from liveedit.experts.modules import FeatureBatch
from liveedit.types import ExpertTraces, RoutingTrace

if TYPE_CHECKING:
    from liveedit.editors.liveedit.editor import LiveEdit


def parts_on(batch: EncodedBatch, device: torch.device, *names: str) -> list[torch.Tensor]:
    """Bool [B, T] of the named parts of a batch, on ``device``."""
    return [batch.part(name).to(device) for name in names]


def route_among(
    editor: LiveEdit, repository: ExpertRepository, features: FeatureBatch, margin_shift: float = 0.0
) -> Routing:
    """Route features among the repository's active experts; the weights include each expert's own scale."""
    device = torch.device("cpu") if editor.experts_on == "cpu" else editor.device
    routing = route(
        features.visual.to(device),
        features.threshold.to(device),
        features.prompt.to(device),
        repository.stacked("phi", device),
        repository.stacked("psi", device),
        repository.active_mask().to(device),
        margin_shift,
        editor.routing,
        editor.config.threshold_slack,
    )
    return replace(routing, weight=routing.weight * repository.scales().to(device))


def traces_of(repository: ExpertRepository, routing: Routing, margin_shift: float = 0.0) -> list[RoutingTrace]:
    """Tensors of a routing as one trace per question."""
    ids, active = [e.id for e in repository], [e.active for e in repository]
    margins = routing.visual - routing.threshold[:, None]
    fields = [
        tensor.detach().cpu().numpy()
        for tensor in (
            routing.visual, routing.threshold[:, None].expand_as(margins), margins, routing.passed, routing.prompt,
            routing.absolute, routing.relative, routing.weight,
        )
    ]  # fmt: skip
    return [
        RoutingTrace(ExpertTraces((ids, active, *columns)), threshold, margin_shift, True, "")
        for threshold, *columns in zip(routing.threshold.tolist(), *fields, strict=True)
    ]


class Injection:
    """The change at layer l_e for one batch: routes on its first call, then adds the fused residual at every call."""

    def __init__(
        self,
        editor: LiveEdit,
        batch: EncodedBatch,
        repositories: Sequence[ExpertRepository | None],
        margin_shift: float = 0.0,
    ) -> None:
        self.editor, self.batch, self.margin_shift = editor, batch, margin_shift
        self.repositories = [r for r in repositories if r is not None]
        self.traces: list[RoutingTrace] = []
        self.fused: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.traces:
            self._prefill(hidden.to(self.editor.device, torch.float32))
        if self.fused is None:
            return hidden
        return self.editor.modules.residual(hidden, *self.fused)

    def _prefill(self, hidden: torch.Tensor) -> None:
        """Route every row among its own repository's experts and keep only those that passed."""
        strategy = self.editor.routing
        vision, prompt = parts_on(self.batch, self.editor.device, "vision", "prompt")
        features = self.editor.modules.encode_query(hidden, vision, prompt, strategy.whole_picture)
        rows: dict[int, list[int]] = {}
        for number, repository in enumerate(self.repositories):
            rows.setdefault(id(repository), []).append(number)
        chosen: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        traces: dict[int, RoutingTrace] = {}
        for numbers in rows.values():
            repository = self.repositories[numbers[0]]
            index = torch.tensor(numbers, device=hidden.device)
            part = FeatureBatch(features.visual[index], features.threshold[index], features.prompt[index])
            routing = route_among(self.editor, repository, part, self.margin_shift)
            routed_on = routing.weight.device
            U, V = repository.stacked("U", routed_on), repository.stacked("V", routed_on)
            if strategy.keeps_all and len(rows) == 1:
                # Every expert acts on every row: one copy of them all serves the batch.
                self.traces = traces_of(repository, routing, self.margin_shift)
                self.fused = (U.to(hidden.device), V.to(hidden.device), routing.weight.to(hidden.device))
                return
            for place, (number, trace) in enumerate(
                zip(numbers, traces_of(repository, routing, self.margin_shift), strict=True)
            ):
                traces[number] = trace
                passed = routing.passed[place]
                chosen[number] = (U[passed], V[passed], routing.weight[place, passed])
        self.traces = [traces[i] for i in range(len(self.repositories))]
        most = max(len(weight) for _, _, weight in chosen.values())
        if most == 0:
            return
        c = self.editor.config
        U_all = hidden.new_zeros(len(chosen), most, c.rank, c.hidden_size)
        V_all, weights = torch.zeros_like(U_all), hidden.new_zeros(len(chosen), most)
        for number, (U_row, V_row, weight) in chosen.items():
            U_all[number, : len(weight)], V_all[number, : len(weight)], weights[number, : len(weight)] = (
                U_row,
                V_row,
                weight,
            )
        self.fused = (U_all, V_all, weights)
