"""The benchmark compares like with like: one sample at a time, the step has the loss and the gradient of the batched one."""

from __future__ import annotations

import random
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import torch

from liveedit.backbones import Backbone
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.experts.modules import LiveEditModules
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import JOINT_STAGE, EditorBatches
from liveedit.training.layouts import RowLayout
from liveedit.world.cases import default_vocabulary

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "training_throughput.py"


def test_one_sample_at_a_time_is_the_same_step(lively_backbone: Backbone) -> None:
    spec = spec_from_file_location("training_throughput", SCRIPT)
    assert spec is not None and spec.loader is not None
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    torch.manual_seed(0)
    config = EditorConfig(hidden_size=64, layer=1, module_dim=32, queries=2, heads=4, sentinel_tokens=64, lora_scale=1.0)
    modules = LiveEditModules(config)
    batch = EditorBatches(0, JOINT_STAGE, 1, 3, RowLayout(lively_backbone), default_vocabulary(), None, ())[0]
    found = []
    for one_by_one in (False, True):
        trainer = EditorTrainer(lively_backbone, modules, EditorTrainingConfig(memory=16))
        # The second batch meets the first one in the memory.
        for number in range(2):
            modules.zero_grad()
            rng = random.Random(number)
            loss = benchmark.OneByOne(trainer).loss(batch, rng) if one_by_one else trainer.joint(batch, rng)[0]
            loss.backward()
        found.append([loss.detach(), *(p.grad for p in modules.parameters())])
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-4)
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3 * float(ours.abs().max()) + 1e-6)
