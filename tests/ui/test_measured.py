"""Curves of measured editors: what is read from which file, and that plots and table hold the same numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from liveedit.evaluation.editors_report import LABELS
from liveedit.ui.measured import LOOKS, UNEDITED, _looks, measured_html, read_groups
from liveedit.ui.svg import Line, lines
from liveedit.world.catalogue import ASSETS


def value(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 2.0, "high": mean + 1.0, "n": 10}


def lifelong(label: str, rel: dict[int, float], seeds: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    """A lifelong evaluation with one value for each number of edits."""
    return {
        "format": "liveedit-lifelong-1",
        "label": label,
        "backbone": "llava-1",
        "benchmark": {"name": "world", "pool": 1000},
        "options": {"seeds": list(seeds)},
        "runs": [{"edits": n, "edited": {"rel": value(m)}, "unedited": {"rel": value(5.0)}} for n, m in rel.items()],
    }


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_editors_on_the_same_samples_share_a_plot_and_others_do_not(tmp_path: Path) -> None:
    write(tmp_path, "a/lifelong.json", lifelong("LiveEdit", {1: 99.0, 100: 95.0}))
    write(tmp_path, "b/lifelong.json", lifelong("FT-L", {1: 90.0, 100: 12.0}))
    write(tmp_path, "c/lifelong.json", lifelong("FT-L", {1: 80.0}, seeds=(7,)))
    groups = read_groups(tmp_path)
    assert [list(g.editors) for g in groups] == [["LiveEdit", "unedited model", "FT-L"], ["FT-L", "unedited model"]]
    assert groups[0].editors["FT-L"].points == {"rel": [(1, 90.0, 88.0, 91.0), (100, 12.0, 10.0, 13.0)]}
    assert groups[0].editors["unedited model"].points == {"rel": [(1, 5.0, 3.0, 6.0), (100, 5.0, 3.0, 6.0)]}

    html = measured_html(tmp_path)
    table = html[html.index("<table") : html.index("</table>")]
    rows = re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td><td>([^<]+)</td>', table)
    assert ("FT-L", "100", "12.00 [10.00, 13.00]") in rows
    assert len(rows) == 6
    assert "FT-L, 100 edits: 12.00" in html
    assert "seeds 0, 1" in html and "seeds 7" in html


def test_all_editors_may_lie_in_one_file(tmp_path: Path) -> None:
    results = [lifelong("LiveEdit", {1: 99.0, 10: 98.0}), lifelong("FT-L", {1: 90.0, 10: 70.0})]
    write(tmp_path, "editors.json", {"format": "liveedit-editors-1", "results": results})
    write(tmp_path, "ft-l/lifelong.json", results[1])
    (group,) = read_groups(tmp_path)
    assert list(group.editors) == ["LiveEdit", "unedited model", "FT-L"]
    assert [point[:2] for point in group.editors["FT-L"].points["rel"]] == [(1, 90.0), (10, 70.0)]


def test_studies_keep_to_themselves_and_what_is_no_evaluation_is_passed_over(tmp_path: Path) -> None:
    study = {"format": "liveedit-study-1", "help": "routing strategies", "results": [lifelong("soft only", {10: 70.0})]}
    write(tmp_path, "study.json", study)
    write(tmp_path, "speed.json", {"edit_seconds": 0.1})
    write(tmp_path, "list.json", [1, 2])
    write(tmp_path, "damaged.json", "{")
    write(tmp_path, "half.json", {"format": "liveedit-lifelong-1", "benchmark": {}})
    groups = read_groups(tmp_path)
    assert [(g.title, list(g.editors)) for g in groups] == [
        ("Study: routing strategies", ["soft only", "unedited model"])
    ]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_without_results_a_sentence_says_so(tmp_path: Path, folder: str) -> None:
    assert "this installation has none" in measured_html(tmp_path / folder)


def test_a_label_from_a_file_stays_text(tmp_path: Path) -> None:
    write(tmp_path, "lifelong.json", lifelong("<script>x</script>{{y}}", {1: 1.0, 10: 2.0}))
    html = measured_html(tmp_path)
    assert "<script" not in html
    assert "{{" not in html


def test_the_shipped_results_are_shown() -> None:
    results = ASSETS.parent / "docs" / "results"
    single = json.loads((results / "world-1000.json").read_text())
    group = next(g for g in read_groups(results) if g.title == "Benchmark world: single runs, seed 0")
    points = {point[0]: point[1:] for point in group.editors["LiveEdit"].points["average"]}
    assert points[1000] == (single["edited"]["paper"]["average"], *single["interval"]["average"])
    assert set(points) >= {100, 1000}
    assert group.editors["LiveEdit"].points["hard.all"][-1][1] == single["edited"]["hard_locality"]["all"]


def test_an_editor_looks_the_same_in_every_plot_and_the_floor_has_no_marker() -> None:
    assert set(LOOKS) | {"unedited"} == set(LABELS.values())
    assert _looks(["LiveEdit", UNEDITED]) == {"LiveEdit": LOOKS["LiveEdit"], UNEDITED: None}
    assert _looks(["without l_sr1", "LiveEdit", UNEDITED]) == {"without l_sr1": 0, "LiveEdit": 1, UNEDITED: None}
    drawn = {lines([Line("x", number, [(1, 50.0, 50.0, 50.0)])], "y").partition('class="curve')[2] for number in LOOKS.values()}
    assert len(drawn) == len(LOOKS)
    floor = lines([Line("x", None, [(1, 50.0, 50.0, 50.0)])], "y")
    assert 'class="curve floor"' in floor and "<circle" not in floor
