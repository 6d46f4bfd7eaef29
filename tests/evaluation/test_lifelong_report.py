"""Tables, CSV files and figures of lifelong evaluations, from results written by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from liveedit.evaluation import lifelong_figures
from liveedit.evaluation.editors_report import costs_table
from liveedit.evaluation.lifelong import FORMAT
from liveedit.evaluation.lifelong_figures import (
    ages_figure,
    costs_figure,
    curves_figure,
    save_figure,
    trend_figure,
    write_figures,
)
from liveedit.evaluation.lifelong_reading import read_results
from liveedit.evaluation.lifelong_report import lifelong_tables, write_tables
from liveedit.types import InputError
from liveedit.world.catalogue import ASSETS

PAPER = ("rel", "t_gen", "m_gen", "t_loc", "m_loc", "average")


def value(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 1, "high": mean + 1, "n": 20}


def result_of(
    label: str, routes: bool, counts: tuple[int, ...] = (1, 100), pool: int = 100, name: str = "x", old: bool = False
) -> dict[str, Any]:
    """An evaluation whose values say where they come from: 60 or 61 edited, 5 unedited, of the ages 4 and 6.

    An ``old`` one has no floor of the ages, and its answers were not timed in parts.
    """
    entries = []
    for count in counts:
        mean = 60.0 + routes + count / 1000
        edited = {name: value(mean) for name in (*PAPER, "rel.exact", "m_gen.exact", "hard.all", "m_loc.same")}
        if routes:
            edited |= {"recall.all": value(99.0), "false.some_passed": value(7.0), "false.passed": value(0.1)}
        ages = [
            {"age": [50, 99], "tested": 10, "edited": {"rel": value(40.0)}, "unedited": {"rel": value(4.0)}},
            {"age": [0, 49], "tested": 10, "edited": {}, "unedited": {"rel": value(6.0)}},
        ]
        cost = {
            "seconds_per_edit": 0.02, "seconds_per_answer_edited": 0.05, "seconds_per_answer_unedited": 0.04,
            "answer_ratio": 1.25, "timed": 5, "bytes": 1234 * count,
        }  # fmt: skip
        if old:
            for age in ages:
                del age["unedited"]
        else:
            for part, edited_seconds in (("prefill", 0.02), ("decode", 0.03)):
                cost |= {f"seconds_per_{part}_edited": edited_seconds, f"seconds_per_{part}_unedited": 0.02}
            cost |= {"prefill_ratio": 1.0, "decode_ratio": 1.5}
        entries.append(
            {
                "edits": count, "runs": 1, "tested": 20, "tested_per_run": min(count, 50), "edited": edited,
                "unedited": {name: value(5.0) for name in (*PAPER, "rel.exact", "hard.all")},
                "ages": ages if count > 1 else ages[:1],
                "cost": cost,
            }
        )  # fmt: skip
    return {
        "format": FORMAT,
        "label": label,
        "backbone": "llava-1",
        "benchmark": {"name": "world", "pool": pool},
        "editor": {"name": name, "fingerprint": "y"},
        "options": {"seeds": [0, 1]},
        "runs": entries,
    }


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    lines = next(part for part in text.split(f"## {heading}")[1].split("\n\n") if part.startswith("|")).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_editors_stand_beside_each_other_with_the_floor_below() -> None:
    text = lifelong_tables([result_of("LiveEdit", True), result_of("FT-L", False)])
    rows = rows_of(text, "The paper's metric")
    assert [row[:3] for row in rows] == [
        ["1", "LiveEdit", "20"], ["1", "FT-L", "20"], ["1", "unedited model", "20"],
        ["100", "LiveEdit", "20"], ["100", "FT-L", "20"], ["100", "unedited model", "20"],
    ]  # fmt: skip
    assert rows[3][3] == "61.10 [60.10, 62.10]"
    assert rows[5][3] == "5.00 [4.00, 6.00]"
    # FT-L does not route; the unedited model does not either, but stands in every table.
    assert [row[1] for row in rows_of(text, "Routing")] == ["LiveEdit", "unedited model"] * 2
    assert rows_of(text, "Routing")[1][3:] == ["–"] * 4
    assert rows_of(text, "False activations")[0][3:] == ["7.00 [6.00, 8.00]", "0.10 [-0.90, 1.10]"]
    assert rows_of(text, "False activations")[1][3:] == ["–", "–"]
    assert [row[1] for row in rows_of(text, "Hard locality")].count("unedited model") == 2
    assert rows_of(text, "Written answers")[0][3:6] == ["61.00 [60.00, 62.00]", "–", "–"]
    assert rows_of(text, "Cost")[4:] == [
        ["100", "FT-L", "20.0", "50.0", "40.0", "1.25", "1.00", "1.50", "123,400"],
        ["100", "unedited model", "–", "40.0", "40.0", "1.00", "1.00", "1.00", "0"],
    ]
    assert "LiveEdit: of each run's 100 applied edits 50 were tested" in text
    ages = rows_of(text, "100 edits by age")
    assert ages[0] == ["LiveEdit", "Rel.", "40.00 [39.00, 41.00]", "–"]
    assert ages[6] == ["unedited model", "Rel.", "4.00 [3.00, 5.00]", "6.00 [5.00, 7.00]"]
    assert "## 1 edits by age" not in text
    assert "Portability" not in text


def test_results_from_before_some_values_were_measured_are_still_read(tmp_path: Path) -> None:
    text = lifelong_tables([result_of("LiveEdit", True, old=True)])
    assert rows_of(text, "100 edits by age")[3] == [
        "unedited model, all ages", "Rel.", "5.00 [4.00, 6.00]", "5.00 [4.00, 6.00]",
    ]  # fmt: skip
    assert rows_of(text, "Cost")[0][5:] == ["1.25", "–", "–", "1,234"]
    assert rows_of(text, "Cost")[1][5:] == ["1.00", "1.00", "1.00", "0"]
    (shipped,) = read_results([str(ASSETS.parent / "docs" / "results" / "lifelong.json")])
    write_tables([shipped], tmp_path)
    assert "| LiveEdit " in (tmp_path / "lifelong.md").read_text()
    assert ages_figure([shipped]) is not None


def test_t_loc_by_construction_is_named_wherever_it_stands(tmp_path: Path) -> None:
    results = [result_of(name, name == "liveedit", name=name) for name in ("liveedit", "ft-m", "ft-l")]
    files = write_tables(results, tmp_path)
    notes = [line for line in files[0].read_text().splitlines() if "by construction" in line]
    assert [line.partition(":")[0] for line in notes] == ["T-Loc. of liveedit", "T-Loc. of ft-m"]
    with files[1].open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["metric"] == "t_loc"]
    assert {(row["label"], row["model"]): row["note"] for row in rows} == {
        ("liveedit", "edited"): "100 by construction", ("ft-m", "edited"): "100 by construction", ("ft-l", "edited"): "",
        **{(name, "unedited"): "100 by definition" for name in ("liveedit", "ft-m", "ft-l")},
    }  # fmt: skip


def test_portability_has_a_table_of_all_questions_and_one_for_each_number_of_hops() -> None:
    result = result_of("LiveEdit", True, (1,))
    for model, mean in (("edited", 30.0), ("unedited", 3.0)):
        result["runs"][0][model] |= {"port.teacher_forced": value(mean), "port.2-hop.teacher_forced": value(mean + 1)}
    text = lifelong_tables([result])
    assert [row[3] for row in rows_of(text, "Portability: questions that follow from an edit")] == [
        "30.00 [29.00, 31.00]", "3.00 [2.00, 4.00]",
    ]  # fmt: skip
    assert [row[1:5] for row in rows_of(text, "Portability, 2-hop questions")] == [
        ["LiveEdit", "20", "31.00 [30.00, 32.00]", "–"], ["unedited model", "20", "4.00 [3.00, 5.00]", "–"],
    ]  # fmt: skip
    assert "Portability, 1-hop" not in text
    assert "- Portability: questions on the edit's picture" in text


def test_the_unedited_model_stands_beside_what_editors_cost() -> None:
    lines = [line.strip("|").split("|") for line in costs_table([result_of("A", True)]).splitlines() if line.startswith("| ")]
    assert [cell.strip() for cell in lines[1]] == ["A", "0.020", "–", "1,234", "1.25", "1.00", "1.50"]
    assert [cell.strip() for cell in lines[2]] == ["unedited model", "–", "–", "0", "1.00", "1.00", "1.00"]


@pytest.fixture
def few_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of a panel or two: drawing many is slow and shows nothing new."""
    monkeypatch.setattr(lifelong_figures, "CURVES", {"rel": "Rel.", "hard.all": "Hard locality"})
    monkeypatch.setattr(lifelong_figures, "AGES", {"rel": "Rel."})
    few = {"written": {"rel.exact": "exact", "rel.f1": "F1"}, "routing": {"recall.all": "recall"}, "portability": {"port.exact": ""}}
    monkeypatch.setattr(lifelong_figures, "ADDITIONS", few)


@pytest.mark.usefixtures("few_panels")
def test_files(tmp_path: Path) -> None:
    results = [result_of("A $5", True), result_of("B", False)]
    files = [*write_tables(results, tmp_path), *write_figures(results, tmp_path)]
    assert {path.name for path in files} == {
        "lifelong.md", "lifelong.csv", "lifelong-ages.csv", "lifelong-costs.csv",
        *(f"lifelong-{name}.{kind}" for name in ("curves", "written", "routing", "ages", "costs") for kind in ("png", "svg")),
    }  # fmt: skip
    assert all(path.stat().st_size > 0 for path in files)
    with (tmp_path / "lifelong.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    found = [
        r for r in rows if r["label"] == "B" and r["edits"] == "100" and r["metric"] == "rel" and r["model"] == "edited"
    ]
    assert [(r["mean"], r["low"], r["high"], r["n"]) for r in found] == [("60.1", "59.1", "61.1", "20")]
    with (tmp_path / "lifelong-ages.csv").open() as handle:
        ages = [tuple(r[k] for k in ("youngest", "oldest", "model", "mean")) for r in csv.DictReader(handle) if r["label"] == "B"]
    assert ages[-3:] == [("50", "99", "edited", "40.0"), ("50", "99", "unedited", "4.0"), ("0", "49", "unedited", "6.0")]
    with (tmp_path / "lifelong-costs.csv").open() as handle:
        costs = [tuple(r.values()) for r in csv.DictReader(handle)]
    assert ("B", "100", "decode_ratio", "1.5") in costs
    assert ("unedited model", "100", "decode_ratio", "1.0") in costs


def test_the_same_figure_gives_the_same_files(tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([1, 2])
        kept.append([path.read_bytes() for path in save_figure(figure, tmp_path, "figure")])
    assert kept[0] == kept[1]


@pytest.mark.usefixtures("few_panels")
def test_curves_have_a_logarithmic_axis_and_the_floor() -> None:
    panel = curves_figure([result_of("A", True), result_of("B", False)]).axes[0]
    assert panel.get_xscale() == "log"
    lines = {str(line.get_label()): line for line in panel.get_lines()}
    assert set(lines) == {"A", "B", "unedited"}
    assert list(lines["A"].get_xdata()) == [1, 100]
    assert list(lines["A"].get_ydata()) == [61.001, 61.1]
    assert list(lines["unedited"].get_ydata()) == [5.0, 5.0]


@pytest.mark.usefixtures("few_panels")
def test_one_edit_has_no_ages() -> None:
    assert ages_figure([result_of("A", True, (1,))]) is None
    figure = ages_figure([result_of("A", True)])
    assert figure is not None
    edited, floor = figure.axes[0].get_lines()
    assert list(edited.get_xdata()) == [74.5]
    assert (list(floor.get_xdata()), list(floor.get_ydata())) == ([74.5, 24.5], [4.0, 6.0])
    older = ages_figure([result_of("A", True, old=True)])
    assert older is not None
    assert list(older.axes[0].get_lines()[1].get_ydata()) == [5.0, 5.0]


def test_the_floor_is_dashed_in_every_figure_that_has_one() -> None:
    results = [result_of("A", True), result_of("B", False)]
    routing = curves_figure(results, {"recall.all": "recall"}).axes[0]
    assert [str(line.get_label()) for line in routing.get_lines()] == ["A"]
    ratio = costs_figure(results).axes[1]
    assert [list(line.get_ydata()) for line in ratio.get_lines() if line.get_label() == "unedited"] == [[1.0, 1.0]]
    trend = trend_figure(results, {"rel": "Rel."}, [4, 2], "rank", 100).axes[0]
    assert [list(line.get_ydata()) for line in trend.get_lines()] == [[60.1, 61.1], [5.0, 5.0]]


def test_results_are_read_by_folder_file_or_new_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lifelong.json").write_text(json.dumps(result_of(name, True)))
    found = read_results([str(tmp_path / "one"), f"other={tmp_path / 'two' / 'lifelong.json'}"])
    assert [result["label"] for result in found] == ["one", "other"]
    with pytest.raises(InputError, match="two evaluations are called 'one'"):
        read_results([str(tmp_path / "one"), f"one={tmp_path / 'two'}"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no finished evaluation"),
        ("{", "cannot be read"),
        ("{}", "holds no lifelong evaluation"),
        ("[]", "holds no"),
    ],
)
def test_what_is_no_result_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "lifelong.json").write_text(content)
    with pytest.raises(InputError, match=words):
        read_results([str(tmp_path)])


def test_other_samples_are_not_compared(tmp_path: Path) -> None:
    for name, pool in (("one", 100), ("two", 200)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result_of(name, True, pool=pool)))
    with pytest.raises(InputError, match="'one' and 'two' were measured on different samples"):
        read_results([str(tmp_path / "one.json"), str(tmp_path / "two.json")])


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_tables([result_of("A", True)], tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(Figure(figsize=(1, 1)), tmp_path / "file", "figure")
