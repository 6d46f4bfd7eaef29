"""The glyph catalogue: table, atlas and the facts that questions are made from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from liveedit.types import WorldError
from liveedit.world import catalogue, draw

FLAG_FACTS = {"country", "capital", "continent", "currency"}
CONTINENTS = {"africa", "asia", "europe", "north america", "south america", "oceania"}
HOMES = {
    "farm", "forest", "jungle", "savanna", "desert", "ocean", "river", "mountains",
    "polar regions", "house", "garden", "sky", "pond", "grassland", "cave",
}  # fmt: skip
TASTES = {"sweet", "sour", "salty", "spicy", "bitter", "savoury"}
CREATURES = {"animal", "bird", "sea creature", "insect"}
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


def test_there_are_enough_glyphs_with_unique_plain_names() -> None:
    glyphs = catalogue.glyphs()
    assert len(glyphs) >= 600
    assert [glyph.index for glyph in glyphs] == list(range(len(glyphs)))
    assert len({glyph.name for glyph in glyphs}) == len(glyphs)
    assert len({glyph.char for glyph in glyphs}) == len(glyphs)
    for glyph in glyphs:
        assert re.fullmatch(r"[a-z]+([ -][a-z]+)*", glyph.name), glyph.name


def test_every_category_is_allowed_and_used() -> None:
    assert {glyph.category for glyph in catalogue.glyphs()} == set(catalogue.CATEGORIES)


def test_colours_are_allowed_and_absent_where_they_would_say_nothing() -> None:
    coloured = [glyph for glyph in catalogue.glyphs() if glyph.colour is not None]
    assert 200 <= len(coloured) <= 600
    assert {glyph.colour for glyph in coloured} <= set(draw.COLOURS)
    assert not {glyph.category for glyph in coloured} & draw.UNCOLOURED_CATEGORIES


def test_atlas_cells_are_filled_and_pairwise_different() -> None:
    atlas = catalogue.atlas()
    assert atlas.shape == (len(catalogue.glyphs()), 72, 72, 4)
    assert atlas.dtype == np.uint8
    visible = (atlas[..., 3] > 128).mean(axis=(1, 2))
    assert visible.min() > 0.04
    assert len({cell.tobytes() for cell in atlas}) == len(atlas)


def test_no_two_glyphs_look_the_same_when_small() -> None:
    # Mean absolute difference of 18x18 pictures on grey: near twins would give
    # one picture two right names.
    cells = catalogue.atlas().astype(np.float32)
    alpha = cells[..., 3:] / 255.0
    flat = cells[..., :3] * alpha + 128.0 * (1.0 - alpha)
    small = flat.reshape(len(flat), 18, 4, 18, 4, 3).mean(axis=(2, 4)).reshape(len(flat), -1)
    names = [glyph.name for glyph in catalogue.glyphs()]
    for index in range(len(small) - 1):
        distance = np.abs(small[index + 1 :] - small[index]).mean(axis=1)
        nearest = int(distance.argmin())
        assert distance[nearest] > 2.0, (names[index], names[index + 1 + nearest])


def test_atlas_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        catalogue.atlas()[0, 0, 0, 0] = 1


def test_flags_have_the_four_facts() -> None:
    flags = [glyph for glyph in catalogue.glyphs() if glyph.category == "flag"]
    assert len(flags) >= 90
    for flag in flags:
        assert set(flag.facts) == FLAG_FACTS, flag.name
        assert flag.facts["continent"] in CONTINENTS, flag.name
        assert flag.name == "flag of " + flag.facts["country"]
    capitals = [flag.facts["capital"] for flag in flags]
    assert len(set(capitals)) == len(capitals)


def test_facts_use_the_agreed_words() -> None:
    for glyph in catalogue.glyphs():
        facts = glyph.facts
        assert all(value and value == value.strip().lower() for value in facts.values()), glyph.name
        if glyph.category in CREATURES:
            assert set(facts) <= {"home", "diet", "legs", "young"}, glyph.name
            assert facts.get("home", "farm") in HOMES, glyph.name
            assert facts.get("diet", "both") in {"plants", "meat", "both"}, glyph.name
            assert facts.get("legs", "two") in {"zero", "two", "four", "six", "eight"}, glyph.name
        assert facts.get("taste", "sweet") in TASTES, glyph.name


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("cat", "young", "kitten"),
        ("spider", "legs", "eight"),
        ("polar bear", "home", "polar regions"),
        ("lemon", "taste", "sour"),
        ("sushi", "origin", "japan"),
        ("flag of japan", "capital", "tokyo"),
        ("flag of brazil", "continent", "south america"),
        ("flag of sweden", "currency", "krona"),
        ("flag of australia", "capital", "canberra"),
        ("bicycle", "wheels", "two"),
        ("violin", "family", "string"),
        ("hammer", "use", "hitting nails"),
    ],
)
def test_hand_checked_facts(name: str, key: str, value: str) -> None:
    assert catalogue.by_name()[name].facts[key] == value


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("tomato", "red"),
        ("lemon", "yellow"),
        ("frog", "green"),
        ("dolphin", "blue"),
        ("bear", "brown"),
        ("rainbow", None),
        ("flag of japan", None),
    ],
)
def test_hand_checked_colours(name: str, colour: str | None) -> None:
    assert catalogue.by_name()[name].colour == colour


def test_a_missing_or_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="restore"):
        catalogue.read_table(tmp_path / "none.json")
    broken = tmp_path / "glyphs.png"
    broken.write_bytes((catalogue.ASSETS / "glyphs.png").read_bytes()[:5000])
    with pytest.raises(WorldError, match="restore"):
        catalogue.read_atlas(broken, len(catalogue.glyphs()))
    with pytest.raises(WorldError, match="fit"):
        catalogue.read_atlas(catalogue.ASSETS / "glyphs.png", 3)


@pytest.mark.skipif(not FONT.exists(), reason="needs the colour font")
def test_redrawing_gives_the_same_cells_and_colours(tmp_path: Path) -> None:
    rows = json.loads((catalogue.ASSETS / "glyphs.json").read_text(encoding="utf-8"))[:40]
    table, out = tmp_path / "glyphs.json", tmp_path / "glyphs.png"
    table.write_text(json.dumps([row | {"colour": None} for row in rows]), encoding="utf-8")
    assert draw.draw_atlas(FONT, table, out) == 40
    assert catalogue.read_table(table) == catalogue.glyphs()[:40]
    drawn = catalogue.read_atlas(out, 40).astype(int)
    # Other versions of Pillow may round differently, by a step or two.
    assert np.abs(drawn - catalogue.atlas()[:40]).mean() < 2.0


@pytest.mark.skipif(not FONT.exists(), reason="needs the colour font")
def test_a_glyph_the_font_lacks_is_refused(tmp_path: Path) -> None:
    table, out = tmp_path / "glyphs.json", tmp_path / "glyphs.png"
    row = {"char": "\U000e0ffe", "name": "nothing", "category": "symbol", "facts": {}}
    table.write_text(json.dumps([row | {"colour": None}]), encoding="utf-8")
    with pytest.raises(WorldError, match="nothing"):
        draw.draw_atlas(FONT, table, out)
    assert not out.exists()
