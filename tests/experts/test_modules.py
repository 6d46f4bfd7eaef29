"""The trained modules before any training."""

from __future__ import annotations

import torch

from liveedit.config import EditorConfig
from liveedit.experts import similarity
from liveedit.experts.modules import LiveEditModules


@torch.no_grad()
def test_an_untrained_editor_already_finds_a_picture_most_similar_to_itself() -> None:
    torch.manual_seed(0)
    modules = LiveEditModules(
        EditorConfig(hidden_size=32, layer=0, module_dim=64, rank=2, queries=2, heads=4, sentinel_tokens=6)
    )
    hidden = torch.randn(20, 10, 32)
    vision = torch.zeros(20, 10, dtype=torch.bool)
    vision[:, :6] = True
    phi, psi = modules.encode_edit(hidden, vision, ~vision)
    query = modules.encode_query(hidden, vision, ~vision)
    assert similarity(query.visual, phi).argmax(1).tolist() == list(range(20))
    assert similarity(query.prompt, psi).argmax(1).tolist() == list(range(20))
