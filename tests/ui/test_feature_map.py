"""The map: principal components by their definition, every point on both planes and in the table, texts escaped."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import torch

from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Edit
from liveedit.ui import session as actions
from liveedit.ui.feature_map import feature_map, map_html, principal_plane
from liveedit.ui.session import Session
from liveedit.ui.svg import Line, lines


def test_the_plane_holds_the_two_largest_variances() -> None:
    points = torch.randn(40, 7, generator=torch.Generator().manual_seed(0)) * torch.tensor([9.0, 1, 1, 5, 1, 1, 1])
    found, shares = principal_plane(points)
    values, vectors = np.linalg.eigh(np.cov(points.double().numpy().T))
    expected = (points - points.mean(0)).double().numpy() @ vectors[:, [-1, -2]]
    for axis in range(2):
        assert np.allclose(np.abs(found[:, axis].numpy()), np.abs(expected[:, axis]), atol=1e-3)
        assert found[found[:, axis].abs().argmax(), axis] > 0
        assert abs(shares[axis] - values[-1 - axis] / values.sum()) < 1e-5


def test_points_without_spread_lie_on_one_spot() -> None:
    for count in (1, 2, 5):
        found, shares = principal_plane(torch.ones(count, 3))
        assert torch.equal(found, torch.zeros(count, 2))
        assert shares == (0.0, 0.0)
    found, shares = principal_plane(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    assert torch.allclose(found.abs(), torch.tensor([[2.5, 0.0], [2.5, 0.0]]), atol=1e-5)
    assert abs(shares[0] - 1.0) < 1e-5


def test_every_edit_the_question_and_the_sentinel_have_their_place(
    open_editor: LiveEdit, busy_session: Session
) -> None:
    busy_session = actions.switch(open_editor, busy_session, busy_session.repository.experts[0].id)
    found = feature_map(busy_session)
    assert found is not None
    kinds = [place.kind for place in found.places]
    assert (kinds.count("passed"), kinds.count("off"), kinds[-2:]) == (5, 1, ["sentinel", "question"])
    question = found.places[-1]
    assert question.visual is not None and question.prompt is not None
    html = map_html(busy_session)
    assert len(re.findall(r'<g class="mark (?:passed|off)"[^>]*data-item', html)) == 2 * 6
    table = html[html.index("<table") :]
    assert len(re.findall(r"<th scope='row'>", table)) == 8
    assert table.count("<td>–</td>") == 2  # the sentinel has no prompt feature


def test_without_question_or_edits_the_map_says_so(busy_session: Session) -> None:
    alone = replace(busy_session, asked=None)
    assert "Ask a question with a picture" in map_html(alone)
    found = feature_map(alone)
    assert found is not None
    assert {place.kind for place in found.places} == {"unasked"}
    assert "edits that stopped" not in map_html(alone)
    assert "first edit" in map_html(Session(ExpertRepository.empty(busy_session.repository.config)))


def test_what_a_person_types_stays_text_in_the_map(busy_session: Session) -> None:
    evil = '"><script>alert(1)</script>{{x}}'
    experts = busy_session.repository.experts
    experts[0] = replace(experts[0], edit=Edit(experts[0].edit.image, evil, evil))
    html = map_html(busy_session)
    assert "<script" not in html
    assert "{{" not in html


def test_curves_are_drawn_where_their_values_lie() -> None:
    html = lines([Line("LiveEdit", 0, [(1, 100.0, 90.0, 100.0), (100, 50.0, 40.0, 60.0)])], "Rel.", 300, 200)
    way = re.search(r'<polyline class="line" points="([^"]+)"', html)
    assert way is not None
    (x1, y1), (x2, y2) = ([float(v) for v in p.split(",")] for p in way.group(1).split())
    assert x1 < x2
    hundred, fifty, zero = (float(m) for m in re.findall(r'class="grid" d="M\d+ ([\d.]+)', html)[::-2])
    assert (y1, y2) == (hundred, fifty)
    assert zero > fifty
    assert "LiveEdit, 100 edits: 50.00" in html
