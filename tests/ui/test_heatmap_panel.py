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
from liveedit.ui.figure_panel import figure_html
from liveedit.ui.heatmap_panel import build_heatmap_panel, heatmaps_html, nearest, still_true, wanted, work_key
from liveedit.ui.room import Room
from liveedit.ui.session import Session
from liveedit.ui.visits import Visits
from liveedit.ui.wiring import Wiring


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> LiveEdit:
    """An editor of a tiny BLIP-2, whose visual tokens are those of queries: they lie nowhere in the picture."""
    backbone = load_backbone(save("blip2_opt", tmp_path_factory.mktemp("blip2")), "cpu")
    config = EditorConfig(
        hidden_size=WIDTH, layer=2, module_dim=16, rank=2, queries=2, heads=2, sentinel_tokens=5,
        backbone=backbone.fingerprint,
    )  # fmt: skip
    return LiveEdit(backbone, config)


def shown(editor: LiveEdit, session: Session, target: str, method: str) -> str:
    """What stands in the heatmaps' place after a step, which finds all maps or says why it does not."""
    with gr.Blocks():
        wiring = Wiring(editor, [], Path(), gr.State(session), Visits(Room.beside(editor.config)))
        panel = build_heatmap_panel(wiring)
    (step,) = wiring.steps
    updates = step.action(session, {}, target, method, "", 0)
    assert panel.more not in updates or len(updates[panel.maps]) == 1
    return str(updates[panel.heatmaps])


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
        assert "There is no edited answer without an active edit" in said
        assert "Finding" not in said and "no map yet" not in said


def test_a_model_whose_tokens_keep_no_place_is_explained_by_pixels(
    scattered: LiveEdit, open_editor: LiveEdit, pictures: list[Image]
) -> None:
    assert (default_method(open_editor.backbone), default_method(scattered.backbone)) == ("tokens", "occlusion")
    start = replace(Session(scattered.empty()), picture=pictures[0])
    session = actions.apply_edit(scattered, start, "What is it?", "teapot")
    assert "occlusion" in shown(scattered, session, "feature", "tokens")
    assert shown(scattered, session, "feature", default_method(scattered.backbone)).count('<img class="heatmap') == 1
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


def test_there_is_no_figure_before_a_question(open_editor: LiveEdit) -> None:
    with pytest.raises(InputError, match="ask about a picture first"):
        figure_html(Session(open_editor.empty()), {}, "feature", "tokens")
