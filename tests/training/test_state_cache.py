"""Cached layer states: the same from memory, from a folder and after an interruption; other settings are refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from liveedit.backbones import Backbone
from liveedit.config import EditorConfig, EditorTrainingConfig
from liveedit.experts.modules import LiveEditModules
from liveedit.training.editor_losses import EditorTrainer
from liveedit.training.editor_samples import ROUTING_STAGE, EditorBatches
from liveedit.training.layouts import RowLayout
from liveedit.training.processes import Share, open_accelerator
from liveedit.training.state_cache import Shard, StateCache
from liveedit.types import ConfigError, DataError
from liveedit.world.cases import default_vocabulary

SETTINGS = {"backbone": "some-backbone", "layer": 1, "seed": 3}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batches(lively_backbone: Backbone) -> EditorBatches:
    return EditorBatches(3, ROUTING_STAGE, 2, 3, RowLayout(lively_backbone), default_vocabulary(), None, ())


@pytest.fixture(scope="module")
def trainer(lively_backbone: Backbone) -> EditorTrainer:
    config = EditorConfig(hidden_size=64, layer=1, module_dim=32, queries=2, heads=4, sentinel_tokens=64)
    return EditorTrainer(lively_backbone, LiveEditModules(config), EditorTrainingConfig())


@pytest.fixture(scope="module")
def share() -> Share:
    return Share(open_accelerator("cpu", "bf16", 1))


@pytest.fixture(scope="module")
def in_memory(trainer: EditorTrainer, batches: EditorBatches, share: Share) -> StateCache:
    return StateCache.compute(trainer.lower, batches, share)


def opened(trainer: EditorTrainer, batches: EditorBatches, share: Share, folder: Path) -> tuple[StateCache, int]:
    """The cache in a folder, and how many batches had to be computed."""
    computed = []

    def lower(*inputs: object) -> object:
        computed.append(inputs)
        return trainer.lower(*inputs)  # type: ignore[arg-type]

    return StateCache.open(lower, batches, share, folder, SETTINGS), len(computed)  # type: ignore[arg-type]


def test_cached_states_are_those_of_the_rows(
    in_memory: StateCache, trainer: EditorTrainer, batches: EditorBatches
) -> None:
    """Case 4 is the second of the second batch: its edit, its redrawn picture and its locality question."""
    batch = batches[1]
    pairs, vision, seen, prompt, mask = in_memory.batch([4], CPU)
    hidden = trainer.lower(batch, torch.arange(12)).hidden
    assert seen is None
    for number, row in enumerate((1, 7, 10)):
        assert torch.allclose(vision[number], hidden[row, batch.vision[row]], atol=1e-5)
        said = hidden[row, batch.prompt[row]]
        assert mask[number].sum() == len(said)
        assert torch.allclose(prompt[number, mask[number]], said, atol=1e-5)
    assert pairs.contents == [batch.pairs.contents[1]]
    assert pairs.meanings == [batch.pairs.meanings[1], batch.pairs.meanings[4]]
    assert pairs.locality_kind.tolist() == [int(batch.pairs.locality_kind[1])]


def test_long_prompts_are_read_to_their_beginning(trainer: EditorTrainer, batches: EditorBatches) -> None:
    """The features of the routing stage are those of the joint stage, of short prompts beside a long one too."""
    shards, wanted = [], []
    for number, words in ((0, ""), (1, "Look at the picture closely and then tell me in a few words: " * 4)):
        rng = random.Random(number)
        items = [batches.item(rng, np.random.default_rng(place)) for place in range(2)]
        items[0] = replace(items[0], prompt=words + items[0].prompt)
        batch = batches.collate(items, rng)
        assert (int(batch.prompt[0].sum()) > 60) is (number == 1)
        shards.append(Shard.of(trainer.lower, batch))
        hidden = trainer.lower(batch, slice(0, 2)).hidden
        phi, psi = trainer.modules.encode_edit(hidden, batch.vision[:2], batch.prompt[:2])
        wanted += list(zip(phi, psi, strict=True))
    cache, edit = StateCache(shards), trainer.modules.edit_features
    for chosen in ([0, 1], [1, 2, 3, 0], [2]):
        _, vision, _, prompt, mask = cache.batch(chosen, CPU)
        for place, case in enumerate(chosen):
            said = prompt[place][None], mask[place][None]
            assert torch.allclose(edit.meaning(*said)[0], wanted[case][1], atol=1e-5)
            looked = edit.visual(edit.attention_queries(*said), vision[place][None])[0]
            assert torch.allclose(looked, wanted[case][0], atol=1e-5)


def test_statistics_are_made_of_tokens_of_every_picture(in_memory: StateCache, monkeypatch: pytest.MonkeyPatch) -> None:
    vision, prompt = in_memory.sample()
    assert vision.shape == (6 * 64, 64)
    monkeypatch.setattr("liveedit.training.state_cache.SAMPLED_TOKENS", 100)
    fewer, same = in_memory.sample()
    assert torch.equal(fewer, vision.view(6, 64, 64)[:, ::4].flatten(0, 1))
    assert torch.equal(same, prompt)


def test_a_folder_gives_what_memory_gives_and_is_computed_once(
    in_memory: StateCache, trainer: EditorTrainer, batches: EditorBatches, share: Share, tmp_path: Path
) -> None:
    folder = tmp_path / "states"
    for expected in (2, 0):
        cache, computed = opened(trainer, batches, share, folder)
        assert computed == expected
        assert len(cache) == 6
        for ours, theirs in zip(cache.batch([5, 0, 3], CPU)[1:], in_memory.batch([5, 0, 3], CPU)[1:], strict=True):
            assert ours is theirs or torch.equal(ours, theirs)
        left, right = cache.batch([5, 0, 3], CPU)[0], in_memory.batch([5, 0, 3], CPU)[0]
        assert (left.contents, left.locality_contents, left.meanings) == (
            right.contents,
            right.locality_contents,
            right.meanings,
        )
        assert torch.equal(left.related, right.related) and torch.equal(left.locality_kind, right.locality_kind)
        assert all(torch.equal(a, b) for a, b in zip(cache.sample(4), in_memory.sample(4), strict=True))
    # An interruption leaves some shards; only the others are computed.
    (folder / "states-00001.safetensors").unlink()
    assert opened(trainer, batches, share, folder)[1] == 1


def other_settings(folder: Path) -> None:
    values = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps({**values, "layer": 2}))


def cut(folder: Path) -> None:
    path = folder / "states-00000.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


DAMAGE: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "other settings": (other_settings, ConfigError, "cached with layer 2, this training has 1"),
    "settings cut": (lambda f: (f / "settings.json").write_text('{"la'), DataError, "is damaged"),
    "settings are a list": (lambda f: (f / "settings.json").write_text("[]"), ConfigError, "cached with"),
    "a shard cut": (cut, DataError, "are damaged"),
    "no cache at all": (lambda f: (f / "settings.json").unlink(), ConfigError, "holds files but no cached states"),
}


def test_what_does_not_fit_is_refused_with_a_sentence(
    trainer: EditorTrainer, batches: EditorBatches, share: Share, tmp_path: Path
) -> None:
    folder = tmp_path / "states"
    opened(trainer, batches, share, folder)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for kind, (damage, error, sentence) in DAMAGE.items():
        damage(folder)
        with pytest.raises(error, match=sentence) as caught:
            opened(trainer, batches, share, folder)
        assert "\n" not in str(caught.value), kind
        for name, content in whole.items():
            (folder / name).write_bytes(content)
