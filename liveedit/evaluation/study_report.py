"""Tables and figures of studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from liveedit.evaluation.conflicts import OUTCOMES, QUESTIONS
from liveedit.evaluation.lifelong_figures import bars_figure, curves_figure, save_figure, trend_figure
from liveedit.evaluation.lifelong_report import cell, lifelong_tables, named, write_csv, write_tables, write_text
from liveedit.evaluation.report import NAMES, table
from liveedit.evaluation.studies import STUDIES

BARS = {
    "average": "Average of five",
    "rel": "Rel.",
    "m_gen": "M-Gen.",
    "m_loc": "M-Loc.",
    "rel.exact": "Rel., written, exact",
    "hard.all": "Hard locality",
}
OUTCOME_COLOURS = {"first": "#0072b2", "later": "#e69f00", "unedited": "#9ca3af", "other": "#d55e00"}


def write_study(study: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write the tables (Markdown, CSV) and figures (PNG, SVG) of a study; returns the files."""
    folder, name = Path(folder), str(study["study"])
    if name == "conflicts":
        return _write_conflicts(study, folder)
    results: Sequence[Mapping[str, Any]] = study["results"]
    files = write_tables(results, folder, name)
    files[0] = write_text(folder / f"{name}.md", study_tables(study))
    most = max(entry["edits"] for result in results for entry in result["runs"])
    files += save_figure(bars_figure(results, BARS, most), folder, f"{name}-bars")
    if name == "size":
        files += save_figure(size_figure(results, most), folder, "size-map")
    by = STUDIES[name].by
    if by and len(results) > 1 and all(by in result["setting"] for result in results):
        xs = [result["setting"][by] for result in results]
        files += save_figure(trend_figure(results, BARS, xs, by, most), folder, f"{name}-by-{by}")
    if len({entry["edits"] for result in results for entry in result["runs"]}) > 1:
        files += save_figure(curves_figure(results), folder, f"{name}-curves")
    return files


def study_tables(study: Mapping[str, Any]) -> str:
    """What was compared, then the tables of the lifelong evaluations."""
    if study["study"] == "conflicts":
        return conflict_tables(study)
    rows = []
    for result in study["results"]:
        setting = result["setting"]
        routing = setting.get("routing", {})
        told = [
            "sentinel" if routing.get("sentinel", True) else "no sentinel",
            *([f"nearest {routing['nearest']}"] if routing.get("nearest") else []),
            "weighed by prompt" if routing.get("soft", True) else "averaged",
            *(["whole pictures"] if routing.get("whole_picture") else []),
        ]
        numbers = [str(setting.get(key, "–")) for key in ("layer", "module_dim", "rank", "queries")]
        rows.append([result["label"], ", ".join(told), *numbers, f"{setting.get('parameters', 0):,}"])
    head = ["variant", "routing", "layer", "d_m", "r", "k", "parameters"]
    lines = [f"# Study: {study['help']}", "", table(head, rows), ""]
    lines += [study["note"], ""] if study["note"] else []
    return "\n".join(lines) + "\n" + lifelong_tables(study["results"]).replace("# Lifelong editing\n\n", "", 1)


def size_figure(results: Sequence[Mapping[str, Any]], count: int) -> Figure:
    """The paper's Figure 3: d_m and r of every editor, its parameters as the area, the average as the colour."""
    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    axes = figure.subplots()
    settings = [result["setting"] for result in results]
    entries = [next(entry for entry in result["runs"] if entry["edits"] == count) for result in results]
    most = max(setting["parameters"] for setting in settings)
    points = axes.scatter(
        [setting["module_dim"] for setting in settings],
        [setting["rank"] for setting in settings],
        s=[900 * setting["parameters"] / most for setting in settings],
        c=[entry["edited"]["average"]["mean"] for entry in entries],
        cmap="viridis",
    )
    figure.colorbar(points, ax=axes, label=f"average of five, {count:,} edits")
    axes.set_xlabel("module dimension d_m", fontsize=9)
    axes.set_ylabel("rank r", fontsize=9)
    axes.margins(0.25)
    return figure


def conflict_tables(study: Mapping[str, Any]) -> str:
    """Whose answer is given under every condition, and the paper's metric for both answers."""
    lines = [
        f"# Study: {study['edits']:,} edits that disagree, repeat each other or are noisy",
        "",
        f"Benchmark {named(study['benchmark'])}, seeds {', '.join(map(str, study['seeds']))}, editor "
        f"{study['editor']['name']}. The model says the first answer, the later rival, what the unedited model says, or "
        "something else (percent of written answers); tokens: the paper's metric for the first and the later answer.",
        "",
    ]
    titles = {
        "unedited": "unedited's",
        "first_tokens": "tokens, first",
        "later_tokens": "tokens, later",
        "passed": "passed",
    }
    keys = (*OUTCOMES, "first_tokens", "later_tokens", "passed")
    for question in QUESTIONS:
        rows = [
            [label, str(part["tested"]), *(cell(part["values"].get(f"{question}.{key}")) for key in keys)]
            for label, part in study["conditions"].items()
        ]
        where = "the edit's own picture" if question == "rel" else "the redrawn picture"
        lines += [f"## Asked on {where} ({NAMES[question]})", ""]
        lines += [table(["condition", "tested", *(titles.get(key, key) for key in keys)], rows), ""]
    lines += [f"- {label}: {part['help']}." for label, part in study["conditions"].items()]
    return "\n".join(lines) + "\n"


def conflicts_figure(study: Mapping[str, Any]) -> Figure:
    """For every condition a bar of four shares that sum to 100, on own and on redrawn pictures."""
    conditions = study["conditions"]
    figure = Figure(figsize=(10.5, 1.4 + 0.34 * len(conditions)), layout="constrained")
    panels = figure.subplots(1, len(QUESTIONS), sharey=True)
    places = list(range(len(conditions)))
    for axes, question in zip(panels, QUESTIONS, strict=True):
        left = [0.0] * len(conditions)
        for outcome, colour in OUTCOME_COLOURS.items():
            shares = [part["values"][f"{question}.{outcome}"]["mean"] for part in conditions.values()]
            axes.barh(places, shares, left=left, height=0.62, color=colour, label=outcome)
            left = [a + b for a, b in zip(left, shares, strict=True)]
        axes.set_yticks(places, list(conditions), fontsize=9)
        axes.set_ylim(len(conditions) - 0.5, -0.5)
        axes.set_title("own picture" if question == "rel" else "redrawn picture", fontsize=10)
        axes.set_xlabel("whose answer, percent", fontsize=9)
        axes.tick_params(labelsize=8, length=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    return figure


def _write_conflicts(study: Mapping[str, Any], folder: Path) -> list[Path]:
    rows = [
        (label, part["tested"], metric, *(value[key] for key in ("mean", "low", "high", "n")))
        for label, part in study["conditions"].items()
        for metric, value in part["values"].items()
    ]
    head = ("condition", "tested", "metric", "mean", "low", "high", "n")
    return [
        write_text(folder / "conflicts.md", conflict_tables(study)),
        write_csv(folder / "conflicts.csv", head, rows),
        *save_figure(conflicts_figure(study), folder, "conflicts-outcomes"),
    ]
