"""Scenes: what is sampled, what is drawn, and that the two agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from liveedit.types import WorldError
from liveedit.world import scenes
from liveedit.world.catalogue import Glyph
from liveedit.world.grounds import TINTS
from liveedit.world.scenes import Ground, Placed, Scene

FLAG = 2
COUNT = 6


@pytest.fixture(autouse=True)
def small_catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Six drawn glyphs in place of the real ones, so that no emoji font is needed."""
    colours = ("red", "green", None, "blue", "white", "yellow")
    made = tuple(
        Glyph(i, chr(65 + i), f"thing {i}", "flag" if i == FLAG else "things", colours[i], {})
        for i in range(COUNT)
    )
    y, x = np.mgrid[:72, :72]
    pixels = np.zeros((COUNT, 72, 72, 4), dtype=np.uint8)
    for i in range(COUNT):
        away = np.hypot(x - 35.5, y - 35.5)
        pixels[i, ..., :3] = np.stack((x * 3, y * 3, x * 0 + 40 * i), axis=-1)
        pixels[i, ..., 3] = np.clip((34 - i - away) * 128, 0, 255)
    _forget()
    monkeypatch.setattr(scenes, "glyphs", lambda: made)
    monkeypatch.setattr(scenes, "atlas", lambda: pixels)
    yield
    _forget()


def _forget() -> None:
    scenes._traits.cache_clear()
    scenes._copy.cache_clear()


def _many(count: int = 200) -> list[Scene]:
    rng = np.random.default_rng(5)
    return [
        scenes.sample_scene(
            rng,
            [int(g) for g in rng.choice(COUNT, 1 + i % 4, replace=False)],
            lambda glyph: True,
        )
        for i in range(count)
    ]


def test_same_scene_same_picture() -> None:
    first, second = _many(40), _many(40)
    assert first == second
    for one, other in zip(first, second, strict=True):
        before = scenes.render(one)
        _forget()
        np.testing.assert_array_equal(before, scenes.render(other))


@pytest.mark.parametrize("size", [32, 112, 150])
def test_shapes_and_types(size: int) -> None:
    for scene in _many(8):
        picture, masks = scenes.render(scene, size), scenes.object_masks(scene, size)
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
        assert masks.shape == (len(scene.objects), size, size) and masks.dtype == np.bool_
        assert masks.any(axis=(1, 2)).all()


def test_slots_say_where_the_centre_is() -> None:
    for scene in _many():
        assert len({o.slot for o in scene.objects}) == len(scene.objects)
        for placed in scene.objects:
            words = placed.slot.split()
            if "centre" in words:
                assert abs(placed.cx - 0.5) < 0.2 and abs(placed.cy - 0.5) < 0.2
                continue
            across = "left" if "left" in words else "right" if "right" in words else None
            down = "top" if "top" in words else "bottom" if "bottom" in words else None
            for value, word, low in ((placed.cx, across, "left"), (placed.cy, down, "top")):
                if word is None:
                    assert abs(value - 0.5) < 0.1
                else:
                    assert value < 0.4 if word == low else value > 0.6


def test_sizes_follow_the_number_of_objects() -> None:
    for scene in _many():
        low, high = {1: (0.45, 0.85), 4: (0.3, 0.45)}.get(len(scene.objects), (0.3, 0.5))
        assert all(low <= o.size <= high for o in scene.objects)


def test_glyphs_fill_slots_in_order_and_stay_apart() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        scene = scenes.sample_scene(rng, [3, 0, 5, 1])
        assert [o.glyph for o in scene.objects] == [3, 0, 5, 1]
        masks = scenes.object_masks(scene)
        assert (masks.sum(axis=0) > 1).sum() <= 0.02 * masks.sum(axis=(1, 2)).min()


def test_an_object_changes_only_its_mask() -> None:
    for scene in _many(60):
        scene = dataclasses.replace(scene, noise=0.0)
        whole, masks = scenes.render(scene), scenes.object_masks(scene)
        for i, mask in enumerate(masks):
            rest = scene.objects[:i] + scene.objects[i + 1 :]
            without = scenes.render(dataclasses.replace(scene, objects=rest))
            changed = (whole != without).any(axis=-1)
            assert changed.any() and not (changed & ~mask).any()


def test_redraw_keeps_glyphs_and_slots_only() -> None:
    rng = np.random.default_rng(2)
    for scene in _many(60):
        again = scenes.redraw(scene, rng)
        assert [(o.glyph, o.slot, o.flip) for o in again.objects] == [
            (o.glyph, o.slot, o.flip) for o in scene.objects
        ]
        assert again.ground != scene.ground and again.seed != scene.seed
        assert all(a.size != b.size for a, b in zip(again.objects, scene.objects, strict=True))


def test_flags_are_never_mirrored_or_tilted_far() -> None:
    rng = np.random.default_rng(3)
    scene = scenes.sample_scene(rng, [FLAG, FLAG], lambda glyph: True)
    for _ in range(400):
        scene = scenes.redraw(scene, rng, lambda glyph: True)
        assert all(not o.flip and abs(o.angle) <= 12 for o in scene.objects)


def test_only_flippable_glyphs_are_mirrored_or_lean_far() -> None:
    rng = np.random.default_rng(4)
    drawn = [scenes.sample_scene(rng, [0, 1], {1}) for _ in range(300)]
    assert not any(s.objects[0].flip or abs(s.objects[0].angle) > 20 for s in drawn)
    assert any(s.objects[1].flip for s in drawn) and not all(s.objects[1].flip for s in drawn)
    assert any(abs(s.objects[1].angle) > 20 for s in drawn)
    assert not any(o.flip for o in scenes.sample_scene(rng, [0, 1, 3]).objects)


def test_mirroring_and_turning_go_the_right_way() -> None:
    def drawn(angle: float, flip: bool) -> np.ndarray:
        placed = Placed(0, 0.5, 0.5, 72 / 112, angle, flip, "centre")
        return scenes.render(Scene((placed,), Ground("plain", "black", 0), 1.0, 0.0, 0))

    straight = drawn(0, False).astype(int)
    np.testing.assert_allclose(drawn(90, False), np.rot90(straight), atol=3)
    np.testing.assert_allclose(drawn(0, True), straight[:, ::-1], atol=3)


def test_ground_mostly_avoids_the_glyphs_colours() -> None:
    rng = np.random.default_rng(6)
    grounds = [scenes.sample_scene(rng, [0]).ground for _ in range(400)]
    assert sum(g.colour == "red" for g in grounds) < 12
    assert {g.colour for g in grounds} >= set(scenes.COLOURS) - {"red"}
    assert {g.kind for g in grounds} == set(scenes.KINDS)


@pytest.mark.parametrize("colour", scenes.COLOURS)
def test_ground_shows_its_colour(colour: str) -> None:
    """The mean of every ground lies nearer to its own tints than far-off ones allow."""
    dark, light = (np.asarray(c, dtype=float) for c in TINTS[colour])
    for kind in scenes.KINDS:
        for seed in range(10):
            mean = np.asarray(scenes.draw_ground(Ground(kind, colour, seed), 48)).mean(axis=(0, 1))
            along = np.clip((mean - dark) @ (light - dark) / ((light - dark) ** 2).sum(), 0, 1)
            assert np.linalg.norm(mean - (dark + along * (light - dark))) < 60


def test_noise_and_brightness() -> None:
    ground = Ground("plain", "grey", 1)
    calm = scenes.render(Scene((), ground, 1.0, 0.0, 1)).astype(float)
    assert calm.std(axis=(0, 1)).max() == 0
    grainy = scenes.render(Scene((), ground, 1.0, 0.03, 1)).astype(float)
    assert 6.5 < grainy.std(axis=(0, 1)).mean() < 9
    assert abs(grainy.mean() - calm.mean()) < 1
    assert scenes.render(Scene((), ground, 0.9, 0.0, 1)).mean() < calm.mean() - 5


@pytest.mark.parametrize("ids", [[], [0] * 5, [COUNT], [-1]])
def test_impossible_scenes_are_refused(ids: list[int]) -> None:
    with pytest.raises(WorldError, match=r"\.$"):
        scenes.sample_scene(np.random.default_rng(0), ids)


def test_unknown_ground_and_layout_are_refused() -> None:
    with pytest.raises(WorldError, match="ground"):
        scenes.draw_ground(Ground("marble", "red", 0), 16)
    lone = Placed(0, 0.2, 0.5, 0.4, 0.0, False, "left")
    with pytest.raises(WorldError, match="layout"):
        odd = Scene((lone,), Ground("plain", "red", 0), 1.0, 0.0, 0)
        scenes.redraw(odd, np.random.default_rng(0))
