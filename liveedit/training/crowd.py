"""What shows the routing losses a crowd beside the batch: a memory of recent features.

Hard routing has to tell an edit from a thousand others, and no batch that also trains the generator holds so
many. Features drift slowly, so those of recent batches still stand for their edits. (The other remedy, large
batches of cached states, is in :mod:`liveedit.training.state_cache`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class FeatureMemory:
    """The visual features of recent edits (detached), and what their pictures showed.

    Each process remembers its own batches; nothing is exchanged.
    """

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
        """What a checkpoint keeps, in plain types, on the CPU."""
        return {"features": [f.cpu() for f in self.features], "contents": [sorted(c) for c in self.contents]}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.features = [f.to(device) for f in state["features"]]
        self.contents = [frozenset(c) for c in state["contents"]]

    def unrelated(self, contents: Sequence[frozenset[str]]) -> torch.Tensor:
        """Bool [B, M]: which remembered edits share nothing with each of the given pictures."""
        return torch.tensor([[a.isdisjoint(b) for b in self.contents] for a in contents])
