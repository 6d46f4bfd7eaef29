"""Figures of lifelong evaluations: values over the number of edits, by the age of an edit, and costs, each beside the floor.

Only ``matplotlib.figure.Figure``: pyplot keeps global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liveedit.types import InputError

Result = Mapping[str, Any]
# Okabe and Ito's colours without their yellow, which is hardly seen on white, and two of Tol's, told apart by readers with
# any colour vision, and a marker each for print. Where all editors are shown, LiveEdit has the black star.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933", "#000000", "#8c564b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "*", "<", ">")
GRID, FLOOR = "#d4d7dd", "#6b7280"
CURVES = {
    "rel": "Rel.",
    "t_gen": "T-Gen.",
    "m_gen": "M-Gen.",
    "t_loc": "T-Loc.",
    "m_loc": "M-Loc.",
    "average": "Average of five",
    "rel.exact": "Rel., written, exact",
    "hard.all": "Hard locality",
}
AGES = {"rel": "Rel.", "rel.exact": "Rel., written, exact"}
MEASURES = {"exact": "exact", "contains": "contains", "f1": "F1"}
# Figures of their own, by the end of their names: what the paper does not measure. Values that no result has are left out.
ADDITIONS = {
    "written": {
        f"{query}.{measure}": f"{name}, {title}"
        for query, name in (("rel", "Rel."), ("t_gen", "T-Gen."), ("m_gen", "M-Gen."))
        for measure, title in MEASURES.items()
    },
    "locality": {
        "hard.same_picture": "Same picture, other question",
        "hard.near_miss": "Look-alike picture, same question",
        "m_loc.same": "Unrelated picture and question",
    },
    "routing": {
        "recall.all": "Own edit passes",
        "precision.all": "Own edit's share of those that pass",
        "passed.all": "Edits that pass (number)",
        "false.some_passed": "False activations",
    },
    "portability": {
        "port.teacher_forced": "Portability",
        **{f"port.{measure}": f"Portability, written, {title}" for measure, title in MEASURES.items()},
    },
}
COUNTED = "passed.all"  # a number of edits, not a share of questions


def curves_figure(results: Sequence[Result], titles: Mapping[str, str] | None = None, columns: int = 4) -> Figure:
    """One panel per value (default: ``CURVES``) over the number of edits, with intervals; the floor is dashed."""
    titles = CURVES if titles is None else titles
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(3.25 * columns, 0.4 + 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (key, title) in zip(panels, titles.items(), strict=False):
        for number, result in enumerate(results):
            points = [(e["edits"], e["edited"][key]) for e in result["runs"] if key in e["edited"]]
            _line(axes, number, str(result["label"]), [(x, v["mean"], v["low"], v["high"]) for x, v in points])
        for backbone in dict.fromkeys(result["backbone"] for result in results):
            floor: dict[int, float] = {}
            for result in results:
                if result["backbone"] == backbone:
                    for entry in result["runs"]:
                        if key in entry["unedited"]:
                            floor.setdefault(entry["edits"], entry["unedited"][key]["mean"])
            _floor(axes, [(n, floor[n]) for n in sorted(floor)])
        _finish(axes, title, "edits", results)
        if key == COUNTED:
            axes.set_ylim(bottom=0)
        else:
            axes.set_ylim(-3, 103)
    for axes in panels[len(titles) :]:
        axes.set_visible(False)
    _legend(figure, panels[0])
    return figure


def ages_figure(results: Sequence[Result]) -> Figure | None:
    """Values by age for every number of edits that has ages to compare; None where none has."""
    counts = sorted({e["edits"] for r in results for e in r["runs"] if len(e["ages"]) > 1})
    if not counts:
        return None
    figure = Figure(figsize=(3.3 * len(counts), 2.9 * len(AGES)), layout="constrained")
    panels = figure.subplots(len(AGES), len(counts), squeeze=False)
    for row, (key, title) in zip(panels, AGES.items(), strict=True):
        for axes, count in zip(row, counts, strict=True):
            for number, result in enumerate(results):
                entry = next((e for e in result["runs"] if e["edits"] == count), None)
                if entry is None:
                    continue
                known = [(a["age"], a["edited"][key]) for a in entry["ages"] if key in a["edited"]]
                points = [((low + high) / 2, v["mean"], v["low"], v["high"]) for (low, high), v in known]
                _line(axes, number, str(result["label"]), points)
                below = [(sum(a["age"]) / 2, a["unedited"][key]["mean"]) for a in entry["ages"] if key in a.get("unedited", {})]
                if below:
                    _floor(axes, below)
                elif key in entry["unedited"]:
                    # Older results hold the floor of all ages together.
                    _floor(axes, [(sum(a["age"]) / 2, entry["unedited"][key]["mean"]) for a in entry["ages"]])
            axes.set_title(f"{title}, {count:,} edits", fontsize=10)
            axes.set_xlabel("edits applied later (old left, new right)", fontsize=9)
            axes.invert_xaxis()
            _style(axes)
            axes.set_ylim(-3, 103)
    _legend(figure, panels[0][0])
    return figure


def costs_figure(results: Sequence[Result]) -> Figure:
    """Seconds of an edit, what an answer costs against the unedited one, and bytes, over the number of edits."""
    titles = {
        "seconds_per_edit": "seconds per edit",
        "answer_ratio": "an answer, against the unedited one",
        "bytes": "bytes of the edits",
    }
    figure = Figure(figsize=(10.5, 3.3), layout="constrained")
    panels = figure.subplots(1, len(titles))
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for number, result in enumerate(results):
            points = [(e["edits"], e["cost"][key]) for e in result["runs"]]
            _line(axes, number, str(result["label"]), [(x, y, y, y) for x, y in points])
        if key == "answer_ratio":
            axes.axhline(1.0, color=FLOOR, linestyle="--", linewidth=1.2, label="unedited")
        _finish(axes, title, "edits", results)
        if key == "bytes" and any(e["cost"][key] for r in results for e in r["runs"]):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
    _legend(figure, panels[1])
    return figure


def bars_figure(results: Sequence[Result], keys: Mapping[str, str], entry_of: int) -> Figure:
    """One panel per value at one number of edits, a bar with its interval for each result; the floor is dashed."""
    figure = Figure(figsize=(2.6 * len(keys), 1.5 + 0.34 * len(results)), layout="constrained")
    panels = figure.subplots(1, len(keys), squeeze=False)[0]
    places = list(range(len(results)))
    for number, (axes, (key, title)) in enumerate(zip(panels, keys.items(), strict=True)):
        for place, result in zip(places, results, strict=True):
            entry = next((e for e in result["runs"] if e["edits"] == entry_of), None)
            value = entry["edited"].get(key) if entry is not None else None
            if entry is None or value is None:
                continue
            spread = [[value["mean"] - value["low"]], [value["high"] - value["mean"]]]
            axes.barh(place, value["mean"], xerr=spread, height=0.62, color=COLOURS[0], ecolor="#1f2937", capsize=2)
            if key in entry["unedited"]:
                axes.axvline(entry["unedited"][key]["mean"], color=FLOOR, linestyle="--", linewidth=1.0)
        axes.set_yticks(places, [str(r["label"]) for r in results] if number == 0 else [""] * len(results), fontsize=9)
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.set_title(title, fontsize=10)
        _style(axes)
    return figure


def trend_figure(
    results: Sequence[Result], keys: Mapping[str, str], xs: Sequence[float], by: str, entry_of: int
) -> Figure:
    """One panel per value at one number of edits over a setting of the editors, a point for each result; the floor is dashed."""
    figure = Figure(figsize=(2.9 * len(keys), 3.0), layout="constrained")
    panels = figure.subplots(1, len(keys), squeeze=False)[0]
    for axes, (key, title) in zip(panels, keys.items(), strict=True):
        points, floor = [], []
        for x, result in sorted(zip(xs, results, strict=True), key=lambda pair: pair[0]):
            for entry in result["runs"]:
                if entry["edits"] == entry_of and key in entry["edited"]:
                    value = entry["edited"][key]
                    points.append((x, value["mean"], value["low"], value["high"]))
                    floor += [(x, entry["unedited"][key]["mean"])] if key in entry["unedited"] else []
        _line(axes, 0, by, points)
        _floor(axes, floor)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(by, fontsize=9)
        _style(axes)
    return figure


def write_figures(results: Sequence[Result], folder: Path, name: str = "lifelong") -> list[Path]:
    """Curves, the additions that were measured, values by age where there are any, and costs; returns the files."""
    files = save_figure(curves_figure(results), folder, f"{name}-curves")
    for end, titles in ADDITIONS.items():
        known = {k: title for k, title in titles.items() if any(k in e["edited"] for r in results for e in r["runs"])}
        if known:
            files += save_figure(curves_figure(results, known, 3 if end == "written" else 4), folder, f"{name}-{end}")
    ages = ages_figure(results)
    if ages is not None:
        files += save_figure(ages, folder, f"{name}-ages")
    return files + save_figure(costs_figure(results), folder, f"{name}-costs")


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and as SVG; the same values give the same files."""
    files = [folder / f"{name}.png", folder / f"{name}.svg"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"svg.hashsalt": "liveedit"}):
            figure.savefig(files[0], dpi=150)
            figure.savefig(files[1], metadata={"Date": None})
    except OSError as error:
        raise InputError(f"the figures cannot be written to {folder} ({error}): choose another place") from error
    return files


def _line(axes: Axes, number: int, label: str, points: Sequence[tuple[float, float, float, float]]) -> None:
    """A line through (x, mean) with a band from low to high."""
    if not points:
        return
    xs, means, lows, highs = zip(*points, strict=True)
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(
        xs, means, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=4, linewidth=1.6, label=_plain(label)
    )
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.16, linewidth=0)


def _floor(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """The unedited model's values; nothing where it has none."""
    if points:
        xs, means = zip(*points, strict=True)
        axes.plot(xs, means, "--", color=FLOOR, linewidth=1.2, label="unedited")


def _plain(label: str) -> str:
    """A label whose dollar signs are dollar signs, and that no legend hides."""
    return label.replace("$", r"\$").lstrip("_") or "editor"


def _finish(axes: Axes, title: str, xlabel: str, results: Sequence[Result]) -> None:
    """Title, logarithmic axis of the numbers of edits, style."""
    counts = sorted({entry["edits"] for result in results for entry in result["runs"]})
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{n:,}" for n in counts])
    axes.set_xticks([], minor=True)
    if len(counts) == 1:
        axes.set_xlim(counts[0] / 2, counts[0] * 2)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(xlabel, fontsize=9)
    _style(axes)


def _style(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    figure.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), 6), fontsize=9, frameon=False
    )
