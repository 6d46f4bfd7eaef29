"""The figure of an instance analysis as a file: its formats, its words, and nothing that a person writes is markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liveedit.editors import LiveEdit
from liveedit.evaluation.instance_figure import InstanceAnalysis, Map, figure_bytes, instance_figure
from liveedit.experts import ExpertRepository
from liveedit.types import InputError, Query


def analysis(editor: LiveEdit, repository: ExpertRepository, prompt: str = "What is it?") -> InstanceAnalysis:
    query = Query(repository.experts[0].edit.image, prompt)
    rows = editor.route(repository, [query])[0].experts[:3]
    heat = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    maps = {row.expert_id: Map(heat, f"made in {number} passes") for number, row in enumerate(rows)}
    names = {row.expert_id: f"Edit {number}" for number, row in enumerate(rows, start=1)}
    return InstanceAnalysis(query, "cat", "", repository, rows, Map(heat, "made in 9 passes"), maps, names)


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_every_format_is_itself_and_repeats(
    kind: str, start: bytes, open_editor: LiveEdit, open_repository: ExpertRepository
) -> None:
    given = analysis(open_editor, open_repository)
    first, second = (figure_bytes(instance_figure(given), kind) for _ in range(2))
    assert first.startswith(start)
    assert first == second


def test_the_figure_says_what_routing_decided(open_editor: LiveEdit, open_repository: ExpertRepository) -> None:
    given = analysis(open_editor, open_repository, "is $x$ <b>bold</b> & {odd}? \\frac")
    text = figure_bytes(instance_figure(given), "svg").decode()
    for words in ("is $x$ &lt;b&gt;bold&lt;/b&gt; &amp;", "unedited: cat", "edited: (nothing)", "→ snow leopard",
                  "Edit 1", "Edit 3", "made in 2 passes", "made in 9 passes", "fusion weight"):  # fmt: skip
        assert words in text
    for row in given.experts:
        assert f"margin {row.margin:+.2f}, passed" in text
        assert f">{row.weight:.2f}<" in text


def test_a_question_alone_and_maps_over_the_question_have_a_figure(
    open_editor: LiveEdit, open_repository: ExpertRepository, tmp_path: Path
) -> None:
    given = analysis(open_editor, open_repository)
    alone = InstanceAnalysis(given.query, "cat", "dog", open_repository, [], None, {}, {})
    assert figure_bytes(instance_figure(alone), "png").startswith(b"\x89PNG")
    over = InstanceAnalysis(
        given.query, "cat", "dog", open_repository, given.experts, None, given.maps, given.names, over_question=True
    )
    (tmp_path / "over.png").write_bytes(figure_bytes(instance_figure(over), "png"))
    with Image.open(tmp_path / "over.png") as image:
        assert image.width > image.height > 300


def test_where_a_map_lacks_words_say_why(open_editor: LiveEdit, open_repository: ExpertRepository) -> None:
    given = analysis(open_editor, open_repository)
    first = given.experts[0].expert_id
    why = "no map: the picture is too narrow to explain"
    lacking = replace(given, own="no map yet", maps={**given.maps, first: why})
    text = figure_bytes(instance_figure(lacking), "svg").decode()
    assert ">no map yet<" in text and "made in 9 passes" not in text
    assert "made in 0 passes" not in text and "made in 1 passes" in text
    # Wrapped under its picture.
    assert ">no map: the picture is too narrow to<" in text and ">explain<" in text
    shown = instance_figure(lacking).axes[1].images[0].get_array()
    bare = instance_figure(replace(given, maps={})).axes[1].images[0].get_array()
    assert np.array_equal(np.asarray(shown), np.asarray(bare))


def test_a_map_lies_over_its_region_of_the_picture(open_editor: LiveEdit, open_repository: ExpertRepository) -> None:
    given = analysis(open_editor, open_repository)
    plain = instance_figure(replace(given, own=None)).axes[0].images[0].get_array()
    half = Map(np.ones((4, 4), np.float32), "", (0.5, 0.0, 1.0, 1.0))
    drawn = instance_figure(replace(given, own=half)).axes[0].images[0].get_array()
    changed = (np.asarray(plain, int) != np.asarray(drawn, int)).any(-1)
    assert not changed[:, :160].any()
    assert changed[:, 160:].mean() > 0.9


def test_what_cannot_be_drawn_is_refused(open_repository: ExpertRepository) -> None:
    with pytest.raises(InputError, match="shows a picture"):
        instance_figure(InstanceAnalysis(Query(None, "What?"), "a", "b", open_repository, [], None, {}, {}))
    with pytest.raises(InputError, match="png, svg, pdf"):
        figure_bytes(instance_figure(InstanceAnalysis(
            Query(open_repository.experts[0].edit.image, "What?"), "a", "b", open_repository, [], None, {}, {}
        )), "gif")  # fmt: skip
