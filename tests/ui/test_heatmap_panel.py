"""Heatmaps on the page: what is explained for which picture, maps kept by what they belong to, and the figure."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from architectures import WIDTH, save
from PIL.Image import Image

from liveedit.attribution import Attribution, default_method
from liveedit.backbones import load_backbone
from liveedit.config import EditorConfig
from liveedit.editors import LiveEdit
from liveedit.types import InputError
from liveedit.ui import session as actions
from liveedit.ui.expert_card import card_html, edit_heatmap
from liveedit.ui.figure_panel import figure_html, placed
from liveedit.ui.heatmap_keys import Maps, key_of, nearest, question_key, still_true, wanted, work_key
from liveedit.ui.heatmap_panel import HeatmapPanel, build_heatmap_panel, heatmaps_html
from liveedit.ui.room import Room
from liveedit.ui.session import Session
from liveedit.ui.visits import Visits
from liveedit.ui.wiring import Updates, Wiring


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> LiveEdit:
    """An editor of a tiny BLIP-2, whose visual tokens are those of queries: they lie nowhere in the picture."""
    backbone = load_backbone(save("blip2_opt", tmp_path_factory.mktemp("blip2")), "cpu")
    config = EditorConfig(
        hidden_size=WIDTH, layer=2, module_dim=16, rank=2, queries=2, heads=2, sentinel_tokens=5,
        backbone=backbone.fingerprint,
    )  # fmt: skip
    return LiveEdit(backbone, config)


def panel_of(editor: LiveEdit, session: Session) -> tuple[Wiring, HeatmapPanel]:
    """The panel alone on a page."""
    with gr.Blocks():
        wiring = Wiring(editor, [], Path(), gr.State(session), Visits(Room.beside(editor.config)))
        return wiring, build_heatmap_panel(wiring)


def steps(
    editor: LiveEdit, session: Session, target: str, method: str, maps: Maps | None = None, stopped: str = ""
) -> list[tuple[Maps, str]]:
    """All maps, and what stands in the heatmaps' place, after each step until no other is asked for."""
    wiring, panel = panel_of(editor, session)
    (step,) = wiring.steps
    found: list[tuple[Maps, str]] = []
    kept: Maps = maps or {}
    more = 0
    while True:
        updates: Updates = step.action(session, kept, target, method, stopped, more)
        kept = updates.get(panel.maps, kept)
        found.append((kept, str(updates[panel.heatmaps])))
        if updates.get(panel.more, more) == more:
            return found
        more = updates[panel.more]


def shown(editor: LiveEdit, session: Session, target: str, method: str) -> str:
    """What stands in the heatmaps' place in the end, when each picture has its map or says why it has none."""
    return steps(editor, session, target, method)[-1][1]


def found_for(session: Session, target: str, method: str) -> dict[str, Attribution]:
    """A map for everything that is wanted."""
    scores = np.arange(64, dtype=np.float32).reshape(8, 8)
    return {key: Attribution(scores, method, target, 1.0, 67, 0.25) for key in wanted(session, target, method)}


def test_the_question_and_the_three_nearest_edits_are_explained(busy_session: Session) -> None:
    assert busy_session.asked is not None
    rows = nearest(busy_session)
    margins = sorted((row.margin for row in busy_session.asked.trace.experts), reverse=True)
    assert [row.margin for row in rows] == margins[:3]
    own, *edits = wanted(busy_session, "feature", "tokens").values()
    assert (own.image, own.side, own.base) == (
        busy_session.picture, "query", busy_session.asked.base.tokens,
    )  # fmt: skip
    assert [(e.image, e.side) for e in edits] == [
        (busy_session.repository.get(row.expert_id).edit.image, "edit") for row in rows
    ]
    margin = list(wanted(busy_session, "margin", "tokens").values())
    assert [(i.image, i.expert_id) for i in margin] == [(busy_session.picture, row.expert_id) for row in rows]
    assert wanted(replace(busy_session, asked=None), "feature", "tokens") == {}


def test_an_edit_s_own_map_outlives_the_question_and_no_other_does(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    feature, margin = (found_for(busy_session, target, "tokens") for target in ("feature", "margin"))
    assert still_true(busy_session, {**feature, **margin}) == {**feature, **margin}
    *_, other = actions.ask(open_editor, busy_session, "How many?")
    assert isinstance(other, Session)
    kept = still_true(other, {**feature, **margin})
    assert set(kept) == {key for key in feature if not key.startswith("question")}
    assert kept.keys() & wanted(other, "feature", "tokens").keys()
    assert not kept.keys() & wanted(other, "margin", "tokens").keys()
    gone = actions.remove(open_editor, other, nearest(other)[0].expert_id)
    assert all(key.split("/")[0] in gone.names for key in still_true(gone, kept))


def test_what_depends_on_the_edits_is_found_again_when_they_change(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    other = actions.switch(open_editor, busy_session, nearest(busy_session)[2].expert_id)
    assert work_key(other, "edited", "mask") != work_key(busy_session, "edited", "mask")
    assert not wanted(other, "edited", "mask").keys() & wanted(busy_session, "edited", "mask").keys()


def test_cards_say_how_each_map_was_made_and_wait_for_those_that_are_missing(busy_session: Session) -> None:
    maps = found_for(busy_session, "feature", "ablation")
    whole = heatmaps_html(busy_session, maps, "feature", "ablation")
    assert whole.count('<img class="heatmap') == 4
    assert whole.count("Ablation, key visual feature, 67 forward passes, 0.25 s") == 4
    first = dict([next(iter(maps.items()))])
    part = heatmaps_html(busy_session, first, "feature", "ablation")
    assert (part.count('<img class="heatmap'), part.count("no map yet")) == (1, 3)
    margin = heatmaps_html(busy_session, found_for(busy_session, "margin", "tokens"), "margin", "tokens")
    assert (margin.count('<img class="heatmap'), margin.count('class="corner"')) == (3, 3)


def test_what_does_not_fit_is_said_and_what_is_unknown_refused(busy_session: Session) -> None:
    said = heatmaps_html(busy_session, {}, "edited", "tokens")
    assert "Occlusion, Ablation, Learned mask" in said
    assert "<img" not in said
    for target, method in (("<b>", "tokens"), ("feature", "<b>")):
        with pytest.raises(InputError, match="choose"):
            heatmaps_html(busy_session, {}, target, method)


def test_where_no_map_can_be_found_it_says_why(open_editor: LiveEdit, busy_session: Session) -> None:
    assert shown(open_editor, busy_session, "feature", "tokens").count('<img class="heatmap') == 4
    session = busy_session
    for expert in busy_session.repository:
        session = actions.switch(open_editor, session, expert.id)
    for target in ("edited", "difference"):
        said = shown(open_editor, session, target, "occlusion")
        assert "no map: there is no edited answer without an active edit" in said
        assert "Finding" not in said and "no map yet" not in said


def test_a_model_whose_tokens_keep_no_place_is_explained_by_pixels(
    scattered: LiveEdit, open_editor: LiveEdit, pictures: list[Image]
) -> None:
    assert (default_method(open_editor.backbone), default_method(scattered.backbone)) == ("tokens", "occlusion")
    start = replace(Session(scattered.empty()), picture=pictures[0])
    session = actions.apply_edit(scattered, start, "What is it?", "teapot")
    refused = shown(scattered, session, "feature", "tokens")
    assert (refused.count("no map: "), refused.count("choose occlusion"), refused.count('<img class="heatmap')) == (2, 2, 0)
    assert shown(scattered, session, "feature", default_method(scattered.backbone)).count('<img class="heatmap') == 2
    expert = session.repository.experts[0].id
    found = edit_heatmap(scattered, session, expert)
    assert found.uri.startswith("data:image/webp")
    assert found.note.startswith("Occlusion, key visual feature, ")
    assert found.note in card_html(session, expert, found, without=False)


def test_a_card_without_a_map_says_why(scattered: LiveEdit, pictures: list[Image]) -> None:
    start = replace(Session(scattered.empty()), picture=pictures[0].resize((400, 2)))
    session = actions.apply_edit(scattered, start, "What is it?", "teapot")
    expert = session.repository.experts[0].id
    found = edit_heatmap(scattered, session, expert)
    assert found.uri == ""
    html = card_html(session, expert, found, without=False)
    assert "too narrow to explain" in html and "Finding" not in html


def narrow_question(editor: LiveEdit, busy: Session) -> Session:
    """The edits with a question about a picture too flat for the methods that mask pixels."""
    assert busy.picture is not None
    *_, last = actions.ask(editor, replace(busy, picture=busy.picture.resize((400, 2)), asked=None), "What is it?")
    assert isinstance(last, Session)
    return last


def test_a_picture_without_a_map_says_why_and_the_others_have_theirs(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    session = narrow_question(open_editor, busy_session)
    every = steps(open_editor, session, "feature", "ablation")
    # The question's picture, which is refused, comes first.
    assert [html.count('<img class="heatmap') for _, html in every] == [0, 1, 2, 3]
    assert all(html.count("no map: the picture is too narrow to explain") == 1 for _, html in every)
    maps, last = every[-1]
    assert "no map yet" not in last
    # What was refused is not tried again.
    assert steps(open_editor, session, "feature", "ablation", maps) == [(maps, last)]


def test_what_was_stopped_is_found_when_it_is_asked_again(open_editor: LiveEdit, busy_session: Session) -> None:
    first = dict([next(iter(found_for(busy_session, "feature", "ablation").items()))])
    stopped = work_key(busy_session, "feature", "ablation")
    ((_, halted),) = steps(open_editor, busy_session, "feature", "ablation", first, stopped)
    assert halted.count("no map: stopped") == 3
    *_, same = actions.ask(open_editor, busy_session, "What is it?")
    assert isinstance(same, Session)
    assert work_key(same, "feature", "ablation") == stopped
    wiring, panel = panel_of(open_editor, same)
    maps, html = steps(open_editor, same, "feature", "ablation", first, wiring.view(same)[panel.stopped])[-1]
    assert len(maps) == html.count('<img class="heatmap') == 4


def test_the_figure_travels_inside_the_page(busy_session: Session) -> None:
    html = figure_html(busy_session, found_for(busy_session, "feature", "tokens"), "feature", "tokens")
    files = dict(re.findall(r'download="instance-analysis\.(\w+)" href="data:[\w/+]+;base64,([^"]+)"', html))
    assert {kind: b64decode(data)[:4] for kind, data in files.items()} == {
        "png": b"\x89PNG", "svg": b"<?xm", "pdf": b"%PDF",
    }  # fmt: skip
    names = [busy_session.name(row.expert_id) for row in nearest(busy_session)]
    alt = re.search(r'<img src="[^"]+" alt="([^"]+)"', html)
    assert alt is not None
    assert all(f"{name}: margin" in alt[1] for name in names)
    text = b64decode(files["svg"]).decode()
    assert all(f">{name}<" in text for name in names)
    assert "Noise on tokens, key visual feature" in text


def test_the_figure_s_numbers_stand_in_a_table(busy_session: Session) -> None:
    html = figure_html(busy_session, found_for(busy_session, "feature", "tokens"), "feature", "tokens")
    question, *edits = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', html)
    assert question[0].startswith("Your question<small>What is it? unedited: ")
    for row, (head, cells) in zip(nearest(busy_session), edits, strict=True):
        edit = busy_session.repository.get(row.expert_id).edit
        assert head.startswith(f"{busy_session.name(row.expert_id)}<small>{edit.prompt} → {edit.target}</small>")
        assert "Noise on tokens, key visual feature, 67 forward passes" in head
        *values, passed, weight = re.findall("<td>(.*?)</td>", cells)
        expected = row.visual_similarity, row.threshold, row.visual_similarity - row.threshold
        assert [float(value.replace("−", "-")) for value in values] == pytest.approx(expected, abs=0.002)
        assert (passed, float(weight)) == ("yes", pytest.approx(row.weight, abs=0.005))


def test_the_figure_never_lacks_a_map_without_saying_why(open_editor: LiveEdit, busy_session: Session) -> None:
    rows = nearest(busy_session)
    keys = [key_of(busy_session, "feature", "ablation", row.expert_id) for row in rows]
    maps: dict[str, Attribution | str] = {**found_for(busy_session, "feature", "ablation"), keys[0]: "it is too narrow"}
    del maps[keys[1]]
    for ended, rest in ((False, "no map yet"), (True, "no map: stopped")):
        html = figure_html(busy_session, maps, "feature", "ablation", ended)
        found = re.search(r'"data:image/svg\+xml;base64,([^"]+)"', html)
        assert found is not None
        svg = b64decode(found[1]).decode()
        for words, count in (("no map: it is too narrow", 1), (rest, 1), ("Ablation, key visual feature", 2)):
            assert (svg.count(f">{words}<"), html.count(words)) == (count, count)
    with pytest.raises(InputError, match="Choose one of: Occlusion, Ablation, Learned mask"):
        figure_html(busy_session, {}, "edited", "tokens")
    bare = replace(Session(open_editor.empty()), picture=busy_session.picture)
    *_, bare = actions.ask(open_editor, bare, "What is it?")
    assert isinstance(bare, Session)
    assert "no map: asked without edits" in figure_html(bare, {}, "feature", "tokens")


def test_a_figure_that_comes_late_does_not_land_under_another_question(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    drawn = question_key(busy_session), "<img>"
    *_, same = actions.ask(open_editor, busy_session, "What is it?")
    *_, other = actions.ask(open_editor, busy_session, "How many?")
    assert isinstance(same, Session) and isinstance(other, Session)
    fewer = actions.switch(open_editor, busy_session, nearest(busy_session)[0].expert_id)
    without = replace(busy_session, asked=None)
    late = [placed(session, drawn)[0] for session in (busy_session, same, other, fewer, without)]
    assert late == ["<img>", "<img>", gr.skip(), gr.skip(), gr.skip()]


def test_there_is_no_figure_before_a_question(open_editor: LiveEdit) -> None:
    with pytest.raises(InputError, match="ask about a picture first"):
        figure_html(Session(open_editor.empty()), {}, "feature", "tokens")
