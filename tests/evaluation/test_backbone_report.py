"""The backbone's report: held-out questions of every group, the same for the same seed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from liveedit.backbones import Backbone
from liveedit.evaluation import backbone as module
from liveedit.evaluation import evaluate_backbone, to_markdown
from liveedit.types import InputError
from liveedit.world.catalogue import glyphs
from liveedit.world.kinds import wording_range, wordings


def test_every_group_asks_what_its_name_says() -> None:
    streams = {name: list(islice(items, 12)) for name, items in module.group_items(0).items()}
    assert next(iter(streams)) == "name"
    assert "photographs" not in streams
    held = {wordings("name")[i] for i in wording_range("name", "eval")}
    names = {g.name for g in glyphs()}
    assert all(i.prompt in held and i.answer in names for i in streams["name"])
    assert {i.answer for i in streams["exists"]} == {"yes", "no"}
    flags = {v for g in glyphs() if g.category == "flag" for v in g.facts.values()}
    assert all(i.answer in flags for i in streams["facts of flags"])
    assert all(i.image is None for name in ("copy", "text facts") for i in streams[name])
    assert all(i.answer.lower() in i.prompt.lower() for i in streams["copy"])


def test_streams_repeat_for_a_seed_and_differ_between_seeds() -> None:
    def first(seed: int) -> list[str]:
        return [next(items).prompt for items in module.group_items(seed).values()]

    assert first(0) == first(0) != first(1)


def test_the_result_counts_right_answers(tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def written(backbone: Backbone, items: list[module.Item]) -> list[str]:
        asked.append(len(items))
        return [items[0].answer.upper(), *("wrong" for _ in items[1:])]

    monkeypatch.setattr(module, "_written", written)
    monkeypatch.setattr(module, "BATCH", 3)
    calls: list[int] = []
    result = evaluate_backbone(tiny_backbone, 0, 4, progress=lambda done, total, label: calls.append(done))
    assert asked[:4] == [3, 1, 3, 1]
    assert calls[:4] == [3, 4, 7, 8]
    assert all(group == {"n": 4, "accuracy": 50.0} for group in result["groups"].values())
    assert "| name" in to_markdown(result)


def test_photographs_run_out_and_the_real_model_answers(
    tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import numpy as np

    class Photos:
        images = np.zeros((3, 32, 32, 3), np.uint8)

        def __len__(self) -> int:
            return 3

        def answer(self, index: int) -> str:
            return "car"

    photos = module.group_items(0, Photos())["photographs"]  # type: ignore[arg-type]
    assert [(i.answer, i.image.size if i.image else None) for i in photos] == [("car", (112, 112))] * 3
    monkeypatch.setattr(module, "MAX_NEW_TOKENS", 3)
    monkeypatch.setattr(module, "SCENE_GROUPS", {"name": module.SCENE_GROUPS["name"]})
    result = evaluate_backbone(tiny_backbone, 0, 4, photos=Photos())  # type: ignore[arg-type]
    assert {name: group["n"] for name, group in result["groups"].items()} == {
        "name": 4, "photographs": 3, "copy": 4, "text facts": 4, "copy, further forms": 4,
    }  # fmt: skip


def test_impossible_requests_are_refused(tiny_backbone: Backbone) -> None:
    with pytest.raises(InputError, match="at least 1"):
        evaluate_backbone(tiny_backbone, 0, 0)
    with pytest.raises(InputError, match="seed"):
        evaluate_backbone(tiny_backbone, -1)
