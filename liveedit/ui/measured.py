"""What was measured before: the lifelong evaluations in the folder of results, as curves with a table beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liveedit.evaluation.editors_report import FORMAT as EDITORS
from liveedit.evaluation.editors_report import LABELS
from liveedit.evaluation.lifelong import FORMAT as LIFELONG
from liveedit.evaluation.protocol import FORMAT as SINGLE
from liveedit.evaluation.studies import FORMAT as STUDY
from liveedit.ui.markup import escape, number
from liveedit.ui.svg import Line, lines, swatch

METRICS = {
    "rel": ("Rel.", "the new answer on the edit itself"),
    "t_gen": ("T-Gen.", "the new answer to the question reworded"),
    "m_gen": ("M-Gen.", "the new answer on the picture redrawn"),
    "m_loc": ("M-Loc.", "unrelated questions answered as before"),
    "hard.all": ("Hard locality", "near-misses answered as before"),
    "average": ("Average", "the mean of the paper's five values"),
}
UNEDITED = "unedited model"
# An editor looks the same in every plot, whatever else is in it; LiveEdit has the star, which is number 6.
NAMES = [label for name, label in LABELS.items() if name not in ("liveedit", "unedited")]
LOOKS = {label: number for number, label in enumerate([*NAMES[:6], LABELS["liveedit"], *NAMES[6:]])}
INTERVALS = "Bands and brackets are 95 % bootstrap intervals: so far may the mean of the tested edits lie from that of all."
ABSENT = (
    "The results lie in docs/results of the source tree, and this installation has none: "
    "`python -m liveedit lifelong` measures them."
)

# (edits, mean, low, high), in percent
Point = tuple[float, float, float, float]


@dataclass
class Measured:
    """One editor on one benchmark: its points by metric."""

    label: str
    points: dict[str, list[Point]] = field(default_factory=dict)


@dataclass
class Group:
    """Editors that were measured on the same samples, and so may share a plot."""

    title: str
    editors: dict[str, Measured] = field(default_factory=dict)

    def add(self, label: str, edits: int, metric: str, mean: float | None, low: float | None, high: float | None) -> None:
        """Note one value; what was not measured is left out."""
        if mean is None:
            return
        points = self.editors.setdefault(label, Measured(label)).points.setdefault(metric, [])
        if all(point[0] != edits for point in points):
            points.append((edits, mean, mean if low is None else low, mean if high is None else high))


def read_groups(folder: Path) -> list[Group]:
    """Every evaluation of editors below ``folder``; files of other kinds, and damaged ones, are passed over."""
    groups: dict[str, Group] = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            for key, title, values in _values(path, content):
                group = groups.setdefault(key, Group(title))
                for value in values:
                    group.add(*value)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return [group for group in groups.values() if group.editors]


Value = tuple[str, int, str, float | None, float | None, float | None]


def _values(path: Path, content: Any) -> Iterator[tuple[str, str, list[Value]]]:
    """Key and title of a group with its values, from a file's content."""
    kind = content.get("format") if isinstance(content, dict) else None
    if kind == SINGLE:
        name, seed = path.stem.removesuffix(f"-{content['edits']}"), content["seed"]
        key = f"single {name} {content['backbone']} {seed}"
        yield key, f"Benchmark {name}: single runs, seed {seed}", list(_single(content))
    elif kind == LIFELONG:
        yield _key(content), _title(content), list(_lifelong(content))
    elif kind == EDITORS:
        for result in content.get("results", ()):
            yield _key(result), _title(result), list(_lifelong(result))
    elif kind == STUDY:
        for result in content.get("results", ()):
            yield f"study {path}", f"Study: {content['help']}", list(_lifelong(result))


def _single(content: Mapping[str, Any]) -> Iterator[Value]:
    for model, label in (("edited", "LiveEdit"), ("unedited", UNEDITED)):
        values = content[model]
        for metric in METRICS:
            mean = values["hard_locality"]["all"] if metric == "hard.all" else values["paper"][metric]
            low, high = content["interval"]["average"] if (metric, model) == ("average", "edited") else (None, None)
            yield label, content["edits"], metric, mean, low, high


def _lifelong(result: Mapping[str, Any]) -> Iterator[Value]:
    for entry in result["runs"]:
        for model, label in (("edited", str(result["label"])), ("unedited", UNEDITED)):
            for metric in METRICS:
                value = entry[model].get(metric)
                if value is not None:
                    yield label, entry["edits"], metric, value["mean"], value["low"], value["high"]


def _key(result: Mapping[str, Any]) -> str:
    return json.dumps([result["benchmark"], result["backbone"], result["options"]["seeds"]], sort_keys=True)


def _title(result: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, result["options"]["seeds"]))
    return f"Benchmark {result['benchmark']['name']}: {result['benchmark']['pool']:,} samples for each of the seeds {seeds}"


def measured_html(folder: Path) -> str:
    """Small plots of each value over the number of edits, the legend, and everything as a table."""
    groups = read_groups(folder) if folder.is_dir() else []
    if not groups:
        return f'<p class="hint">{escape(ABSENT)}</p>'
    return "".join(_group_html(group) for group in groups)


def _group_html(group: Group) -> str:
    editors = sorted(group.editors.values(), key=lambda e: e.label == UNEDITED)
    counts = sorted({point[0] for e in editors for points in e.points.values() for point in points})
    if len(counts) == 1:
        # A single number of edits makes no curve.
        meanings = "; ".join(f"<b>{title}</b> {meaning}" for title, meaning in METRICS.values())
        return (
            f'<section class="measured"><h3>{escape(group.title)}</h3><p class="hint">In percent. {meanings}. {INTERVALS}</p>'
            f"{_table(editors, counts)}</section>"
        )
    looks = _looks([e.label for e in editors])
    plots = "".join(
        f"<figure><figcaption><b>{title}</b> <span>{meaning}</span></figcaption>"
        f"{lines(curves, f'{title} in percent over the number of edits; the table below holds the same')}</figure>"
        for metric, (title, meaning) in METRICS.items()
        if (curves := [Line(e.label, looks[e.label], e.points[metric]) for e in editors if metric in e.points])
    )
    legend = "".join(f"<li>{swatch(looks[e.label])}{escape(e.label)}</li>" for e in editors)
    return (
        f'<section class="measured"><h3>{escape(group.title)}</h3><p class="hint">In percent, over the number of edits. '
        f'{INTERVALS}</p><ul class="map-legend">{legend}</ul>'
        f'<div class="curves">{plots}</div><details class="twin"><summary>The curves as a table</summary>'
        f"{_table(editors, counts)}</details></section>"
    )


def _looks(labels: Sequence[str]) -> dict[str, int | None]:
    """The number of each curve, none for the floor; labels that are not editors' names are counted."""
    if all(label in LOOKS for label in labels if label != UNEDITED):
        return {label: LOOKS.get(label) for label in labels}
    return {label: None if label == UNEDITED else i for i, label in enumerate(labels)}


def _table(editors: Sequence[Measured], counts: Sequence[float]) -> str:
    """A row for each number of edits and editor, intervals in brackets."""
    rows = []
    for count in counts:
        for editor in editors:
            found = {m: next((p for p in editor.points.get(m, ()) if p[0] == count), None) for m in METRICS}
            if any(found.values()):
                cells = "".join(f"<td>{_cell(found[m])}</td>" for m in METRICS)
                rows.append(f'<tr><th scope="row">{escape(editor.label)}</th><td>{count:,.0f}</td>{cells}</tr>')
    heads = "".join(f'<th scope="col">{title}</th>' for title, _ in METRICS.values())
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Measured values, in percent"><table class="plain">'
        f'<thead><tr><th scope="col">Editor</th><th scope="col">Edits</th>{heads}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _cell(point: Point | None) -> str:
    if point is None:
        return "–"
    _, mean, low, high = point
    return number(mean) + (f" [{number(low)}, {number(high)}]" if low < high else "")
