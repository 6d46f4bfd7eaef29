"""MEND's training: it learns, and a row that it trains on meets the change that inference makes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from liveedit.backbones import EncodedBatch, load_backbone
from liveedit.backbones.twin import exchanged
from liveedit.configs import TRAINED
from liveedit.configs.mend import MendConfig, MendTrainingConfig
from liveedit.editors.mend.networks import Factors, HyperNetworks, ReadMoments
from liveedit.training.editor_samples import JOINT_STAGE, EditorBatch, EditorBatches
from liveedit.training.layouts import RowLayout
from liveedit.training.mend import MendTrainee, build
from liveedit.types import ConfigError
from liveedit.world.cases import default_vocabulary


@pytest.fixture(params=[MendConfig(2, 8, 2, 1e-2), MendConfig(1, 8, 2, 1e-2, above=1, inner=False)], ids=["last", "one"])
def trainee(lively_backbone_folder: Path, request: pytest.FixtureRequest) -> MendTrainee:
    torch.manual_seed(0)
    return build(load_backbone(lively_backbone_folder, "cpu"), request.param, MendTrainingConfig(edit_weight=1.0))


@pytest.fixture
def batch(trainee: MendTrainee) -> EditorBatch:
    return EditorBatches(0, JOINT_STAGE, 2, 3, RowLayout(trainee.backbone), default_vocabulary(), None, ())[0]


def test_steps_on_one_batch_lower_its_loss_and_reach_every_weight(trainee: MendTrainee, batch: EditorBatch) -> None:
    trainee.modules.train().requires_grad_(True)
    optimizer = torch.optim.Adam(trainee.modules.parameters(), 3e-3)
    found = []
    for _ in range(10):
        loss, seen = trainee.loss(batch, random.Random(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(seen["edit"])
    assert found[-1] < found[0]
    assert [n for n, p in trainee.modules.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad is None for p in trainee.backbone.model.parameters())


def test_a_row_meets_the_change_that_its_own_edit_makes_at_inference(trainee: MendTrainee, batch: EditorBatch) -> None:
    count, backbone = 3, trainee.backbone
    with torch.no_grad():
        trainee.modules(trainee.gradients(trainee.shown(batch), count), learn=True)
        rows = trainee.shown(batch)
        factors = trainee.modules(trainee.gradients(rows, count))
        logits, _, number = trainee.logits(rows, trainee.changed(factors, 4))
        for row in (0, 2, 4, 11):
            own = [Factors(f.x[row % count][None], f.g[row % count][None]) for f in factors]
            named = zip(trainee.editor.weights.items(), own, strict=True)
            edited = exchanged(backbone, weights={name: weight + f.update() for (name, weight), f in named})
            ids, mask = batch.ids[row][None], batch.mask[row][None]
            pictures = batch.pictures.select([int(batch.which[row])])
            positions = backbone.positions(ids, mask, pictures, [0])
            whole = EncodedBatch(ids, mask, positions, pictures, [], [])
            wanted = edited.forward(whole).logits[0][batch.answer[row].nonzero()[:, 0] - 1]
            assert torch.allclose(logits[number == row], wanted, atol=2e-3)


@pytest.mark.parametrize("rank", [3, 99])
def test_networks_begin_as_a_whitening_of_what_the_maps_read(rank: int) -> None:
    torch.manual_seed(0)
    shapes = [(3, 5), (5, 3), (3, 5)]
    networks = HyperNetworks(MendConfig(2, rank, 2, 1.0), shapes)
    found = []
    for m, n in shapes:
        x = torch.randn(4, 50, n) * torch.arange(1.0, n + 1) + torch.randn(4, 50, 1) * 3 + 2
        found.append(Factors(x, torch.randn(4, 50, m) * torch.rand(4, 50, 1)))
    networks(found, learn=True)
    moments = [ReadMoments() for _ in shapes]
    for seen, factors in zip(moments, found, strict=True):
        for row in range(4):
            seen.see(Factors(factors.x[row : row + 1], factors.g[row : row + 1]))
    plain = networks(found)
    networks.whiten(moments)
    for maps in ((0, 2), (1,)):
        total = torch.zeros(shapes[maps[0]][1], shapes[maps[0]][1], dtype=torch.float64)
        for i in maps:
            z, weight = plain[i].x.double().flatten(0, 1), found[i].g.double().square().sum(-1).flatten()
            total += torch.einsum("t,ti,tj->ij", weight / weight.sum(), z, z) / len(maps)
        values, vectors = torch.linalg.eigh(total)
        level = values[-min(rank, len(values))]
        shrink = torch.where(values >= level, level / values, 1.0)
        for i in maps:
            after = networks(found)[i]
            wanted = plain[i].x.double() @ (vectors * shrink) @ vectors.T
            assert torch.allclose(after.x.double(), wanted, atol=1e-4)
            assert torch.equal(after.g, plain[i].g)


def test_training_begins_with_the_whitening_that_its_settings_ask_for(
    lively_backbone_folder: Path, batch: EditorBatch
) -> None:
    backbone = load_backbone(lively_backbone_folder, "cpu")
    trainee = build(backbone, MendConfig(2, 64, 2, 1e-2), MendTrainingConfig(whitening_batches=2))
    assert trainee.beginning == 2
    trainee.begin([batch, batch])
    ups = [layers[-1].up for layers in trainee.editor.networks.networks.values()]
    assert all(up.any() for up in ups)
    assert build(backbone, MendConfig(2, 64, 2, 1e-2), MendTrainingConfig()).beginning == 0
    with pytest.raises(ConfigError, match="whitening_batches"):
        MendTrainingConfig(whitening_batches=-1)


def test_text_locality_is_asked_without_a_picture(trainee: MendTrainee, batch: EditorBatch) -> None:
    rows = trainee.bare(batch)
    assert len(rows.ids) == 3
    assert not (rows.ids == trainee.backbone.image_token_id).any()
    for row in range(3):
        said = rows.ids[row][rows.answer[row]]
        assert torch.equal(said, batch.ids[9 + row][batch.answer[9 + row]])


def test_presets_follow_the_paper_and_impossible_ones_are_refused(trainee: MendTrainee) -> None:
    _, paper = TRAINED["mend"].presets["paper"]
    assert (paper.learning_rate, paper.edit_weight) == (1e-4, 0.1)
    for wrong in (MendConfig(3), MendConfig(1, above=2)):
        with pytest.raises(ConfigError, match="below the backbone's 3"):
            build(trainee.backbone, wrong, MendTrainingConfig())
    with pytest.raises(ConfigError, match="above is -1"):
        MendConfig(above=-1)
    with pytest.raises(ConfigError, match="edit_weight"):
        MendTrainingConfig(edit_weight=0.0)
