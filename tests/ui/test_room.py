"""What things weigh: everything that is large, and each of it once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from liveedit.config import EditorConfig
from liveedit.editors import LiveEdit
from liveedit.types import Edit
from liveedit.ui.room import Room, size_of
from liveedit.ui.session import Session


def test_what_is_large_is_counted_once() -> None:
    picture, grey = Image.new("RGB", (10, 20)), Image.new("L", (10, 20))
    edits = [Edit(picture, "a" * 100, "b"), Edit(picture, "c" * 50, "d"), Edit(grey, "e", "f")]
    assert size_of(edits) == 4 * 200 + 200 + 100 + 50 + 4
    tensor, array = torch.zeros(3, 5), np.zeros((2, 4))
    assert size_of({"x": (tensor, [tensor]), "y": {"z": array}, "n": 7, "none": None}) == 60 + 64
    counted: set[int] = set()
    assert size_of(edits[0], counted) == 901
    assert size_of(edits[1], counted) == 51, "the picture was counted"


def test_a_session_weighs_what_is_in_it(open_editor: LiveEdit, busy_session: Session) -> None:
    repository = busy_session.repository
    pictures = {id(e.edit.image): e.edit.image for e in repository}.values()
    least = repository.nbytes() + sum(4 * p.width * p.height for p in pictures)
    assert least < size_of(busy_session) < 10 * least
    weight = size_of(busy_session)
    assert size_of([busy_session, replace(busy_session, latest=None)]) == weight, "a copy shares everything"
    repository.stacked("U")
    assert size_of(Session(open_editor.empty())) < 1000


def test_the_room_grows_with_the_experts() -> None:
    small = Room.beside(EditorConfig(hidden_size=256, layer=4, module_dim=384, rank=12, queries=4))
    assert small.session < 200_000_000 and small.everyone < 400_000_000, "with the embedded model 1.5 GB are enough"
    large = Room.beside(EditorConfig(hidden_size=4096, layer=4, module_dim=1024, rank=4, queries=8))
    assert large.session > small.session and large.file.tensors > small.file.tensors
