"""What shows the routing losses a crowd: a memory of recent features, and a cache of layer states.

Hard routing has to tell an edit from a thousand others, and no batch that also trains the generator holds so
many. The frozen backbone makes both remedies sound: its states never change, and features drift slowly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from liveedit.backbones.split import LowerStates
from liveedit.training.editor_samples import EditorBatch, EditorBatches, Pairs

Lower = Callable[[EditorBatch, torch.Tensor], LowerStates]


def loader(batches: EditorBatches, first: int) -> DataLoader[EditorBatch]:
    """Batches from step ``first`` on, prepared by one background process."""
    return DataLoader(Subset(batches, range(first, len(batches))), batch_size=None, num_workers=1, prefetch_factor=6)


class FeatureMemory:
    """The visual features of recent edits (detached), and what their pictures showed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.features: list[torch.Tensor] = []
        self.contents: list[frozenset[str]] = []

    def add(self, features: torch.Tensor, contents: Sequence[frozenset[str]]) -> None:
        """Remember a batch; the oldest are forgotten."""
        start = max(0, len(self.contents) + len(contents) - self.size)
        self.features = [*self.features, *features.detach().unbind()][start:]
        self.contents = [*self.contents, *contents][start:]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, in plain types."""
        return {"features": list(self.features), "contents": [sorted(c) for c in self.contents]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.features = list(state["features"])
        self.contents = [frozenset(c) for c in state["contents"]]

    def unrelated(self, contents: Sequence[frozenset[str]]) -> torch.Tensor:
        """Bool [B, M]: which remembered edits share nothing with each of the given pictures."""
        return torch.tensor([[a.isdisjoint(b) for b in self.contents] for a in contents])


class StateCache:
    """Layer-l_e states of many cases, computed once: vision [3N, N_v, d] and prompt [3N, P, d] in bfloat16.

    The routing stage needs neither answers nor the layers above l_e, so its batches can be ten times larger.
    Rows are the edits, their redrawn pictures and the locality questions, N of each.
    """

    PROMPT_TOKENS = 40

    def __init__(self, lower: Lower, batches: EditorBatches) -> None:
        visions: list[torch.Tensor] = []
        prompts: list[torch.Tensor] = []
        masks: list[torch.Tensor] = []
        kinds: list[torch.Tensor] = []
        self.contents: list[frozenset[str]] = []
        self.locality_contents: list[frozenset[str]] = []
        self.meanings: list[tuple[str, ...]] = []
        self.locality_meanings: list[tuple[str, ...]] = []
        for batch in tqdm(
            loader(batches, 0), total=len(batches), desc="caching states", file=sys.stderr, mininterval=5
        ):
            count = len(batch.pairs.contents)
            rows = torch.cat([torch.arange(count), torch.arange(2 * count, 4 * count)])
            hidden = lower(batch, rows).hidden.to(torch.bfloat16)
            visions.append(hidden[batch.vision[rows]].view(3, count, -1, hidden.shape[-1]))
            prompt = hidden.new_zeros(len(rows), self.PROMPT_TOKENS, hidden.shape[-1])
            mask = torch.zeros(len(rows), self.PROMPT_TOKENS, dtype=torch.bool)
            for number, row in enumerate(rows.tolist()):
                # A longer prompt keeps its end, which has read its beginning.
                states = hidden[number, batch.prompt[row]][-self.PROMPT_TOKENS :]
                prompt[number, : len(states)], mask[number, : len(states)] = states, True
            prompts.append(prompt.view(3, count, *prompt.shape[1:]))
            masks.append(mask.view(3, count, -1))
            self.contents += batch.pairs.contents
            self.locality_contents += batch.pairs.locality_contents
            self.meanings += batch.pairs.meanings[:count]
            self.locality_meanings += batch.pairs.meanings[count:]
            kinds.append(batch.pairs.locality_kind)
        self.kinds = torch.cat(kinds)
        self.vision, self.prompt, self.prompt_mask = (torch.cat(part, 1) for part in (visions, prompts, masks))

    def sample(self, rows: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
        """Vision states [N, d] and prompt states [M, d] of the first ``rows`` edits, in float32."""
        vision, prompt = self.vision[0, :rows].flatten(0, 1), self.prompt[0, :rows][self.prompt_mask[0, :rows]]
        return vision.float(), prompt.float()

    def batch(self, chosen: list[int]) -> tuple[Pairs, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pairs, vision states [3b, N_v, d], prompt states [3b, P, d] and which of the latter are tokens [3b, P]."""
        index = torch.tensor(chosen)
        pairs = Pairs.of(
            [self.contents[i] for i in chosen],
            [self.locality_contents[i] for i in chosen],
            [self.meanings[i] for i in chosen] + [self.locality_meanings[i] for i in chosen],
            self.kinds[index],
        )
        parts = (self.vision, self.prompt, self.prompt_mask)
        vision, prompt, mask = (part[:, index].flatten(0, 1) for part in parts)
        return pairs, vision.float(), prompt.float(), mask
