"""Lifelong evaluations of one or several editors as Markdown tables and CSV files, the unedited floor in every table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from liveedit.evaluation.cost import PARTS
from liveedit.evaluation.lifelong_reading import Result
from liveedit.evaluation.notes import lifelong_notes
from liveedit.evaluation.portability import MEASURES
from liveedit.evaluation.report import NAMES, table
from liveedit.types import InputError

WRITTEN = [f"{query}.{measure}" for query in ("rel", "t_gen", "m_gen") for measure in ("exact", "contains", "f1")]
FLOOR = "unedited model"
HOPS = ("1-hop", "2-hop", "3-hop", "4-hop")
AGES = {"rel": "Rel.", "rel.exact": "Rel. exact", "m_gen.exact": "M-Gen. exact"}
CONSTRUCTED = "100 by construction"
LOCALITY = ("t_loc", "m_loc", "hard.")
# What the notes under all tables are on; those on T-Loc. stand under its own.
TITLES = {
    "locality": "Locality",
    "intervals": "Brackets",
    "false": "False activations",
    "port": "Portability",
    "cost": "Cost",
}
INTERVAL = ("mean", "low", "high", "n")


def rows_of(results: Sequence[Result]) -> Iterator[tuple[int, str, Mapping[str, Any], Mapping[str, Any]]]:
    """(edits, label, entry, values) by number of edits: every editor, then the floor of every backbone."""
    for count in counts_of(results):
        for result, entry in entries_of(results, count):
            yield count, result["label"], entry, entry["edited"]
        for label, entries in floors_of(results, count).items():
            yield count, label, entries[0], entries[0]["unedited"]


def counts_of(results: Sequence[Result]) -> list[int]:
    """The numbers of edits that any of them has."""
    return sorted({entry["edits"] for result in results for entry in result["runs"]})


def entries_of(results: Sequence[Result], count: int) -> list[tuple[Result, Mapping[str, Any]]]:
    """Those that have a number of edits, with what they measured at it."""
    return [(result, entry) for result in results for entry in result["runs"] if entry["edits"] == count]


def floors_of(results: Sequence[Result], count: int) -> dict[str, list[Mapping[str, Any]]]:
    """What each unedited model is called, and the entries of the editors over it; their floors are the same samples'."""
    several = len({result["backbone"] for result in results}) > 1
    floors: dict[str, list[Mapping[str, Any]]] = {}
    for result, entry in entries_of(results, count):
        floors.setdefault(f"{FLOOR} {result['backbone']}" if several else FLOOR, []).append(entry)
    return floors


def named(benchmark: Mapping[str, Any]) -> str:
    """A benchmark's name, and how many of its samples were left out, if any."""
    name, left_out = str(benchmark["name"]), benchmark.get("too_long", 0)
    return f"{name} ({left_out:,} of its samples left out as too long for the backbone)" if left_out else name


def lifelong_tables(results: Sequence[Result]) -> str:
    """All tables as Markdown."""
    rows = list(rows_of(results))
    first = results[0]
    head = [
        f"Benchmark {named(first['benchmark'])}, seeds {', '.join(map(str, first['options']['seeds']))}, "
        f"{first['benchmark']['pool']:,} samples drawn for each.",
        *_sampling(results),
    ]

    def part(title: str, columns: Mapping[str, str], present: str = "") -> list[str]:
        # An editor without such values is left out, the floor never is.
        known = {count for count, _, _, values in rows if present in values}
        chosen = [
            row for row in rows if not present or present in row[3] or (row[0] in known and row[3] is row[2]["unedited"])
        ]
        if not chosen:
            return []
        body = [
            [f"{count:,}", label, str(entry["tested"]), *(cell(values.get(key)) for key in columns)]
            for count, label, entry, values in chosen
        ]
        return [f"## {title}", "", table(["edits", "model", "tested", *columns.values()], body), ""]

    written = {key: f"{NAMES[key.split('.')[0]]} {key.split('.')[1]}" for key in WRITTEN}
    hard = {"hard.same_picture": "same picture", "hard.near_miss": "near miss", "hard.all": "together"}
    routing = {
        "recall.all": "recall %",
        "precision.all": "precision %",
        "passed.all": "passed (mean)",
        "heaviest.all": "own heaviest %",
    }
    false = {"false.some_passed": "any passed %", "false.passed": "passed (mean)"}
    notes = {name: note for result in results for name, note in notes_of(result).items() if name in TITLES}
    lines = [
        "# Lifelong editing", "", *head, "",
        *part("The paper's metric, in percent", NAMES),
        *(f"T-Loc. of {labels}: {note}.\n" for note, labels in _constructed(results).items()),
        *part("Written answers, in percent", {**written, "m_loc.same": "M-Loc. same"}),
        *part("Hard locality: answers identical to the unedited model's, in percent", hard, "hard.all"),
        *part("Routing of questions that an edit concerns", routing, "recall.all"),
        *part("False activations on pictures that no edit was made on", false, "false.some_passed"),
        *(line for hops in ("", *HOPS) for line in part(*_portability(hops))),
        *_age_tables(results),
        "## Cost", "", _cost_table(results), "",
        *(f"- {TITLES[name]}: {note}." for name, note in notes.items()),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def _portability(hops: str) -> tuple[str, dict[str, str], str]:
    """Title, columns and what has to be there of the table of all portability questions, or of those some hops away."""
    columns = {f"port.{hops}{'.' if hops else ''}{measure}": measure.replace("_", " ") for measure in MEASURES}
    title = f"Portability, {hops} questions" if hops else "Portability: questions that follow from an edit"
    return f"{title}, in percent", columns, next(iter(columns))


def _constructed(results: Sequence[Result]) -> dict[str, str]:
    """Why some editors' T-Loc cannot be other than 100, each reason with their names."""
    found: dict[str, list[str]] = {}
    for result in results:
        note = notes_of(result).get("t_loc")
        if note is not None:
            found.setdefault(note, []).append(result["label"])
    return {note: ", ".join(labels) for note, labels in found.items()}


def notes_of(result: Result) -> dict[str, str]:
    """The notes on a result, also on one that was written before results had any."""
    return lifelong_notes(result["editor"]["name"], result["runs"])


def cell(value: Mapping[str, Any] | None) -> str:
    """A mean with its interval; a dash where nothing was measured."""
    return "–" if value is None else f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def _sampling(results: Sequence[Result]) -> list[str]:
    """A sentence for each editor of which not every applied edit was tested."""
    return [
        f"{result['label']}: of each run's {entry['edits']:,} applied edits {entry['tested_per_run']:,} were tested, "
        "a random sample spread evenly over their ages."
        for result in results
        for entry in result["runs"]
        if entry["tested_per_run"] < entry["edits"]
    ]


def _age_tables(results: Sequence[Result]) -> list[str]:
    """For each number of edits, values by the number of edits that came later."""
    lines: list[str] = []
    for count in counts_of(results):
        found = [(r["label"], e, "edited") for r, e in entries_of(results, count) if len(e["ages"]) > 1]
        if not found:
            continue
        found += [(label, entries[0], "unedited") for label, entries in floors_of(results, count).items()]
        # The bins follow from the number of edits; those without a tested edit are left out of a result.
        ages = sorted({tuple(a["age"]) for _, e, _ in found for a in e["ages"]}, reverse=True)
        body = []
        for label, entry, model in found:
            by_age = {tuple(a["age"]): a.get(model) for a in entry["ages"]}
            if None in by_age.values():
                # Older results hold the floor of all ages together.
                label, by_age = f"{label}, all ages", dict.fromkeys(ages, entry[model])
            for key, title in AGES.items():
                body.append([label, title, *(cell((by_age.get(age) or {}).get(key)) for age in ages)])
        head = [str(low) if low == high else f"{low}-{high}" for low, high in ages]
        lines += [f"## {count:,} edits by age (edits applied later), in percent", ""]
        lines += [table(["model", "", *head], body), ""]
    return lines


def costs_of(results: Sequence[Result]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """(edits, label, cost) by number of edits: every editor, then the unedited model as it was timed beside them."""
    for count in counts_of(results):
        yield from ((count, result["label"], entry["cost"]) for result, entry in entries_of(results, count))
        for label, entries in floors_of(results, count).items():
            floor: dict[str, Any] = {}
            for part in ("answer", *PARTS):
                timed = [e["cost"][key] for e in entries if (key := f"seconds_per_{part}_unedited") in e["cost"]]
                if timed:
                    seconds = round(mean(timed), 5)
                    floor |= {f"seconds_per_{part}_edited": seconds, f"seconds_per_{part}_unedited": seconds}
                floor[f"{part}_ratio"] = 1.0
            yield count, label, {**floor, "bytes": 0}


def _cost_table(results: Sequence[Result]) -> str:
    columns = {
        "seconds_per_edit": "ms per edit",
        "seconds_per_answer_edited": "ms per answer of 4 tokens",
        "seconds_per_answer_unedited": "unedited",
        "answer_ratio": "ratio",
        "prefill_ratio": "of prefill",
        "decode_ratio": "of decoding",
        "bytes": "bytes of the edits",
    }

    def shown(key: str, value: float | None) -> str:
        if value is None:
            return "–"
        return f"{1000 * value:.1f}" if key.startswith("seconds") else f"{value:.2f}" if key != "bytes" else f"{value:,}"

    rows = [
        [f"{count:,}", label, *(shown(key, cost.get(key)) for key in columns)] for count, label, cost in costs_of(results)
    ]
    return table(["edits", "model", *columns.values()], rows)


def write_tables(results: Sequence[Result], folder: Path, name: str = "lifelong") -> list[Path]:
    """``name.md`` with all tables, ``name.csv`` with a line per value, ``name-ages.csv`` and ``name-costs.csv``."""

    def note(result: Result, model: str, metric: str) -> str:
        if metric == "t_loc" and model == "edited" and "t_loc" in notes_of(result):
            return CONSTRUCTED
        return "100 by definition" if model == "unedited" and metric.startswith(LOCALITY) else ""

    values = [
        (result["label"], result["backbone"], entry["edits"], model, metric, *(v[k] for k in INTERVAL), note(result, model, metric))
        for result in results
        for entry in result["runs"]
        for model in ("edited", "unedited")
        for metric, v in entry[model].items()
    ]  # fmt: skip
    ages = [
        (result["label"], entry["edits"], *age["age"], model, metric, *(v[k] for k in INTERVAL))
        for result in results
        for entry in result["runs"]
        for age in entry["ages"]
        for model in ("edited", "unedited")
        for metric, v in age.get(model, {}).items()
    ]
    costs = [(label, count, key, value) for count, label, cost in costs_of(results) for key, value in cost.items()]
    head, head_of_ages = ("label", "backbone", "edits", "model", "metric"), ("label", "edits", "youngest", "oldest", "model", "metric")
    return [
        write_text(folder / f"{name}.md", lifelong_tables(results)),
        write_csv(folder / f"{name}.csv", (*head, *INTERVAL, "note"), values),
        write_csv(folder / f"{name}-ages.csv", (*head_of_ages, *INTERVAL), ages),
        write_csv(folder / f"{name}-costs.csv", ("label", "edits", "cost", "value"), costs),
    ]


def write_text(path: Path, text: str) -> Path:
    """Write a text file and the folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report cannot be written to {path} ({error}): choose another place") from error
    return path


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Write a table with a head line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle, lineterminator="\n").writerows([head, *rows])
    except OSError as error:
        raise InputError(f"the report cannot be written to {path} ({error}): choose another place") from error
    return path
