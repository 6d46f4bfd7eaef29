"""The editor's training on a tiny backbone: it learns, resumes exactly, and trains what inference uses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from liveedit import LiveEdit, load_backbone
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.experts.modules import LiveEditModules
from liveedit.training.editor_samples import JOINT_STAGE, SOLO_STAGE, EditorBatch, EditorBatches
from liveedit.training.editor_training import EditorTrainer, train_editor
from liveedit.types import ConfigError
from liveedit.world.cases import default_vocabulary

SHAPE = {"layer": 1, "module_dim": 32, "rank": 4, "queries": 2, "heads": 4, "lora_scale": 1.0,
         "generator_signal": "states+tokens"}  # fmt: skip


@pytest.fixture
def trainer(lively_backbone_folder: Path) -> EditorTrainer:
    backbone = load_backbone(lively_backbone_folder, "cpu")
    torch.manual_seed(0)
    config = EditorConfig(hidden_size=64, sentinel_tokens=64, **SHAPE)  # type: ignore[arg-type]
    return EditorTrainer(backbone, LiveEditModules(config), EditorTrainingConfig(memory=16))


def batch_of(trainer: EditorTrainer, stage: int, size: int = 4) -> EditorBatch:
    return EditorBatches(0, stage, 5, size, trainer.backbone.tokenizer, default_vocabulary(), None, ())[1]


def step(trainer: EditorTrainer, stage: int, times: int) -> list[float]:
    batch, optimizer = batch_of(trainer, stage), torch.optim.Adam(trainer.modules.parameters(), 3e-3)
    found = []
    for _ in range(times):
        loss, _ = trainer.solo(batch) if stage == SOLO_STAGE else trainer.joint(batch, random.Random(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("stage", [SOLO_STAGE, JOINT_STAGE])
def test_steps_on_one_batch_lower_its_loss(trainer: EditorTrainer, stage: int) -> None:
    losses = step(trainer, stage, 12)
    assert losses[-1] < 0.8 * losses[0]


def test_the_backbone_gets_no_gradient(trainer: EditorTrainer) -> None:
    trainer.joint(batch_of(trainer, JOINT_STAGE), random.Random(0))[0].backward()
    assert all(p.grad is None for p in trainer.backbone.model.parameters())
    unreached = [n for n, p in trainer.modules.named_parameters() if p.grad is None]
    assert unreached == []


def test_mixing_always_keeps_an_edits_own_expert_for_its_own_rows(trainer: EditorTrainer) -> None:
    batch = batch_of(trainer, JOINT_STAGE, 6)
    kept = trainer.mixing(batch, random.Random(1))
    assert kept.shape == (24, 6)
    assert all(bool(kept[row, row % 6]) for row in range(18))


def test_the_trained_residual_is_the_one_of_inference(trainer: EditorTrainer) -> None:
    """Same layer, same positions: teacher-forced logits of training and of ``predict`` agree."""
    backbone = trainer.backbone
    batch = batch_of(trainer, SOLO_STAGE, 2)
    editor = LiveEdit(backbone, trainer.modules.config, trainer.modules)
    states = trainer.lower(batch, torch.arange(2))
    with torch.no_grad():
        U, V = trainer.experts(batch, states.hidden)
        edited = trainer.modules.residual(states.hidden, U[:, None], V[:, None], torch.ones(2, 1))
        logits, gold, number = trainer.logits(batch, states, edited, torch.arange(2), torch.arange(2))
    from liveedit.hooks import replace_output

    rows = batch.which[:2]
    inputs = {"input_ids": batch.ids[:2], "attention_mask": batch.mask[:2], "position_ids": batch.positions[:2],
              "pixel_values": batch.pixels[rows]}  # fmt: skip
    with torch.no_grad(), replace_output(
        editor.layer, lambda hidden: editor.modules.residual(hidden, U[:, None], V[:, None], torch.ones(2, 1))
    ):
        whole = backbone.model(**inputs, use_cache=False).logits
    before = torch.zeros_like(batch.answer[:2])
    before[:, :-1] = batch.answer[:2, 1:]
    assert torch.allclose(whole[before], logits, atol=1e-4)
    assert gold.tolist() == batch.ids[:2][batch.answer[:2]].tolist()
    assert number.tolist() == sorted(number.tolist())


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_training_resumes_to_the_same_numbers(
    lively_backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    config = EditorTrainingConfig(
        solo_steps=2, solo_batch=2, routing_cases=4, routing_batch=3, routing_steps=2, steps=2, batch=2, memory=8,
        warmup=1, log_every=1, save_every=1,
    )  # fmt: skip
    straight = train_editor(tmp_path / "a", lively_backbone_folder, config, dict(SHAPE))
    from liveedit.training import editor_training

    real, calls = editor_training.save_state, []

    def interrupted(path: Path, payload: dict[str, object]) -> None:
        real(path, payload)
        calls.append(payload["step"])
        if len(calls) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(editor_training, "save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_editor(tmp_path / "b", lively_backbone_folder, config, dict(SHAPE))
    monkeypatch.setattr(editor_training, "save_state", real)
    with pytest.raises(ConfigError, match="--resume"):
        train_editor(tmp_path / "b", lively_backbone_folder, config, dict(SHAPE))
    resumed = train_editor(tmp_path / "b", lively_backbone_folder, config, dict(SHAPE), resume=True)
    curves = [[json.loads(line)["loss"] for line in (p / "run" / "curve.jsonl").read_text().splitlines()]
              for p in (straight, resumed)]  # fmt: skip
    assert curves[0] == curves[1]
    backbone = load_backbone(lively_backbone_folder, "cpu")
    weights = [LiveEdit.from_pretrained(p, backbone).modules.state_dict() for p in (straight, resumed)]
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])


def test_training_starts_from_a_given_editor(tmp_path: Path, lively_backbone_folder: Path) -> None:
    config = EditorTrainingConfig(solo_steps=0, routing_cases=4, routing_steps=0, steps=1, batch=2, learning_rate=1e-9)
    backbone = load_backbone(lively_backbone_folder, "cpu")
    size = backbone.hidden_size
    given = LiveEdit(
        backbone, EditorConfig(**SHAPE, hidden_size=size, sentinel_tokens=64, backbone="another"), None
    )
    given.save_pretrained(tmp_path / "given")
    out = train_editor(tmp_path / "a", lively_backbone_folder, config, dict(SHAPE), init=tmp_path / "given")
    started, reached = (e.modules.state_dict() for e in (given, LiveEdit.from_pretrained(out, backbone)))
    assert all(torch.allclose(started[n], reached[n], atol=1e-6) for n in started)
    with pytest.raises(ConfigError, match="differs in rank"):
        shape = {**SHAPE, "rank": SHAPE["rank"] + 1}
        train_editor(tmp_path / "b", lively_backbone_folder, config, shape, init=tmp_path / "given")
