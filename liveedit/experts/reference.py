"""The authors' released editor on plain tensors: their checkpoint, without any backbone.

Layer-l_e states in, experts, routing and residual out, computed by the very modules that :class:`LiveEdit` runs, but in
float64 with one rounding to float32 at the end. What this gives can be laid beside the released formulas, or beside the
released program, number by number.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from liveedit.experts.generator import GeneratorInput
from liveedit.experts.modules import LiveEditModules
from liveedit.experts.reference_checkpoint import read_reference
from liveedit.experts.routing import fused_residual, route
from liveedit.types import EditorError

# (phi, psi, U, V): features [k, d_m] each, matrices [r, d] each.
ReferenceExpert = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class ReferenceTrace:
    """What routing decided for one question and E experts, under the names of :class:`ExpertTrace`.

    ``threshold`` is a number [], ``passed`` one bool per expert, the rest float32 [E].
    """

    visual_similarity: torch.Tensor
    threshold: torch.Tensor
    margin: torch.Tensor
    passed: list[bool]
    prompt_similarity: torch.Tensor
    absolute: torch.Tensor
    relative: torch.Tensor
    weight: torch.Tensor


def load_reference(path: str | Path, heads: int = 8, lora_scale: float = 5.0) -> ReferenceEditor:
    """The editor in an authors' checkpoint; errors as in :func:`read_reference`."""
    return ReferenceEditor(read_reference(path, heads, lora_scale))


class ReferenceEditor:
    """A released editor over layer-l_e states of single rows; computes in float64 on the CPU and gives float32.

    ``modules`` stay as they are given.
    """

    def __init__(self, modules: LiveEditModules) -> None:
        self.modules, self.config = modules, modules.config
        # A similarity sums k d_m products: near 50 float32 sums miss it by 4e-5, ten times the distance of its neighbours.
        self._exact = copy.deepcopy(modules).double()

    @torch.no_grad()
    def encode_edit(self, vision: torch.Tensor, prompt: torch.Tensor, answer: torch.Tensor) -> ReferenceExpert:
        """Eqs. 1 and 3: the expert (phi, psi, U, V) of an edit.

        ``vision`` [N_v, d], ``prompt`` [n_p, d] from the end of the image to the end of the prompt, ``answer``
        [n_a, d] the states at the answer's tokens (a stop token is not one of them). The generator reads all three.
        """
        hidden, (seen, said, _) = self._row(vision=vision, prompt=prompt, answer=answer)
        everything = torch.ones_like(seen)
        U, V = self._exact.generator(
            GeneratorInput(hidden, everything, torch.zeros_like(hidden), torch.zeros_like(everything, dtype=torch.long))
        )
        phi, psi = self._exact.encode_edit(hidden, seen, said)
        return phi[0].float(), psi[0].float(), U[0].float(), V[0].float()

    @torch.no_grad()
    def route(self, vision: torch.Tensor, prompt: torch.Tensor, experts: Sequence[ReferenceExpert]) -> ReferenceTrace:
        """Eqs. 4, 5 and 7 for a question's ``vision`` [N_v, d] and ``prompt`` [n_p, d]; ``experts`` may be empty."""
        hidden, (seen, said) = self._row(vision=vision, prompt=prompt)
        query = self._exact.encode_query(hidden, seen, said)
        phi, psi, _, _ = self._stacked(experts)
        routing = route(query.visual, query.threshold, query.prompt, phi, psi)
        return ReferenceTrace(
            visual_similarity=routing.visual[0].float(),
            threshold=routing.threshold[0].float(),
            margin=(routing.visual[0] - routing.threshold[0]).float(),
            passed=routing.passed[0].tolist(),
            prompt_similarity=routing.prompt[0].float(),
            absolute=routing.absolute[0].float(),
            relative=routing.relative[0].float(),
            weight=routing.weight[0].float(),
        )

    @torch.no_grad()
    def residual(self, hidden: torch.Tensor, trace: ReferenceTrace, experts: Sequence[ReferenceExpert]) -> torch.Tensor:
        """The term that Eq. 6 adds to ``hidden`` [T, d], not their sum (see :meth:`edited`): float32 [T, d].

        Zero when there are no experts or none passed.
        """
        states, _ = self._row(hidden=hidden)
        _, _, U, V = self._stacked(experts)
        if len(trace.weight) != len(experts):
            raise EditorError(
                f"the trace is of {len(trace.weight)} experts, but {len(experts)} are given: give those it was made with"
            )
        return fused_residual(self._exact.residual_norm(states), U, V, trace.weight[None].double())[0].float()

    def edited(self, hidden: torch.Tensor, trace: ReferenceTrace, experts: Sequence[ReferenceExpert]) -> torch.Tensor:
        """Eq. 6: ``hidden`` [T, d] plus :meth:`residual`, in ``hidden``'s type."""
        return hidden + self.residual(hidden, trace, experts).to(hidden.dtype)

    def _row(self, **parts: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The parts' states one after another, float64 [1, T, d], and where each part lies, bool [1, T]."""
        for name, states in parts.items():
            if states.dim() != 2 or states.shape[1] != self.config.hidden_size:
                raise EditorError(
                    f"{name} has shape {list(states.shape)}: give layer states [tokens, {self.config.hidden_size}]"
                )
        owner = torch.cat([torch.full((len(states),), number) for number, states in enumerate(parts.values())])
        row = torch.cat([states.double() for states in parts.values()])
        return row[None], [(owner == number)[None] for number in range(len(parts))]

    def _stacked(self, experts: Sequence[ReferenceExpert]) -> list[torch.Tensor]:
        """phi and psi [E, k, d_m], U and V [E, r, d] of the experts, in float64."""
        c = self.config
        features, matrices = (c.queries, c.module_dim), (c.rank, c.hidden_size)
        stacked = []
        for name, place, shape in (("phi", 0, features), ("psi", 1, features), ("U", 2, matrices), ("V", 3, matrices)):
            for number, expert in enumerate(experts):
                if tuple(expert[place].shape) != shape:
                    raise EditorError(
                        f"{name} of expert {number} has shape {list(expert[place].shape)}, this editor's is "
                        f"{list(shape)}: give experts that this editor made"
                    )
            rows = [expert[place].double() for expert in experts]
            stacked.append(torch.stack(rows) if rows else torch.zeros(0, *shape, dtype=torch.float64))
        return stacked
