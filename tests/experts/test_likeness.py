"""Which texts, pictures and edits count as the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from liveedit.config import EditorConfig
from liveedit.experts import ExpertRepository
from liveedit.experts.likeness import give_way, given_way, same, same_picture
from liveedit.types import Edit

CONFIG = EditorConfig(hidden_size=8, layer=1, module_dim=8, rank=2, queries=2, heads=2, sentinel_tokens=4)


@pytest.fixture
def large() -> Image.Image:
    """A picture of noise that a file of edits keeps smaller."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8))


def add(repository: ExpertRepository, *edits: Edit) -> list[str]:
    one, features = torch.zeros(len(edits), 2, 8), torch.ones(len(edits), 2, 8)
    return repository.add(list(edits), one, one, features, features)


def test_texts_are_compared_as_people_do() -> None:
    assert same(" Snow  Leopard. ", "snow leopard")
    assert not same("snow leopards", "snow leopard")


def test_pictures_are_the_same_to_the_pixel(large: Image.Image) -> None:
    other = large.copy()
    assert same_picture(large, other)
    other.putpixel((31, 7), (1, 2, 3))
    assert not same_picture(large, other)
    assert not same_picture(large, large.resize((450, 300)))


def test_a_picture_is_known_again_from_a_file_of_edits(large: Image.Image, tmp_path: Path) -> None:
    repository = ExpertRepository.empty(CONFIG)
    add(repository, Edit(large, "What?", "noise"))
    repository.save(tmp_path / "edits.safetensors")
    kept = ExpertRepository.load(tmp_path / "edits.safetensors", CONFIG)
    assert kept.experts[0].edit.image.size != large.size
    made = add(kept, Edit(large, "what?", "snow"))
    give_way(kept, made)
    assert [expert.active for expert in kept] == [False, True]
    assert [expert.edit.target for expert in given_way(kept, made[0])] == ["noise"]


def test_the_last_of_several_stands(large: Image.Image) -> None:
    small = large.resize((32, 32))
    repository = ExpertRepository.empty(CONFIG)
    add(repository, Edit(small, "What?", "one"), Edit(large, "What?", "two"))
    made = add(repository, Edit(large, "What?", "three"), Edit(large, "Which?", "four"), Edit(large, "what? ", "five"))
    give_way(repository, made)
    assert [expert.active for expert in repository] == [True, False, False, True, True]
    give_way(repository, made[:1])
    assert [expert.active for expert in repository] == [True, False, False, True, True], "what is off takes no place"
