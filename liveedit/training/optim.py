"""The optimiser of backbone pre-training: Muon for the weight matrices, AdamW for the rest.

The model computes in bfloat16 while the optimiser holds float32 master copies, because updates of
1e-3 are below the resolution of a bfloat16 weight. Muon is torch's own (Jordan et al., 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from liveedit.types import ConfigError


def cosine(step: int, total: int, warmup: int, floor: float = 0.0) -> float:
    """Learning-rate factor of ``step`` of ``total``: linear warm-up, then a half cosine to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


class MasterOptimizer:
    """Muon + AdamW over float32 masters of the given low-precision parameters."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], lr: float, weight_decay: float) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError("pre-training needs torch 2.9 or newer (for torch.optim.Muon): upgrade torch")
        self.lr = lr
        self.params: list[nn.Parameter] = []
        self.masters: list[torch.Tensor] = []
        matrices: list[torch.Tensor] = []
        others: list[torch.Tensor] = []
        for name, param in named:
            master = param.detach().float().clone().requires_grad_(True)
            self.params.append(param)
            self.masters.append(master)
            # Embeddings, heads, norms and biases are not maps between hidden spaces: AdamW serves them better.
            is_matrix = param.ndim == 2 and not any(part in name for part in ("embed", "head"))
            (matrices if is_matrix else others).append(master)
        self.muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.adamw = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, factor: float, max_norm: float = 1.0) -> float:
        """One update with the learning rate times ``factor``; returns the gradient's norm before clipping.

        With a norm that is not finite nothing is updated.
        """
        for param, master in zip(self.params, self.masters, strict=True):
            if param.grad is None:
                param.grad = torch.zeros_like(param)
            master.grad = param.grad.float()
            param.grad = None
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters, max_norm))
        if not math.isfinite(norm):
            return norm
        for optimizer in (self.muon, self.adamw):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for param, master in zip(self.params, self.masters, strict=True):
                param.copy_(master)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Masters and both optimisers' states."""
        return {
            "masters": [m.detach() for m in self.masters],
            "muon": self.muon.state_dict(),
            "adamw": self.adamw.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; the parameters are set from the masters."""
        with torch.no_grad():
            for param, master, saved in zip(self.params, self.masters, state["masters"], strict=True):
                master.copy_(saved)
                param.copy_(saved)
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
