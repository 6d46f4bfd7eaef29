"""Lifelong evaluations of one or several editors as Markdown tables and CSV files, the unedited floor in every table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from liveedit.evaluation.lifelong import FORMAT, RESULT
from liveedit.evaluation.report import NAMES, table
from liveedit.types import InputError

Result = Mapping[str, Any]
WRITTEN = [f"{query}.{measure}" for query in ("rel", "t_gen", "m_gen") for measure in ("exact", "contains", "f1")]
FLOOR = "unedited model"
NOTES = (
    "T-Loc. is 100 by construction for an editor that needs a picture to route by.",
    "Locality is agreement with the unedited model, whose own is 100 by definition.",
    "Brackets hold 95 % bootstrap intervals over the tested edits, resampled within each seed.",
    "A false activation is an expert that passes on an unrelated picture that no edit was made on (its objects, in the order they stand in, are no edited picture's).",
)


def read_results(places: Sequence[str]) -> list[dict[str, Any]]:
    """Finished evaluations, each named by its folder or file, or as ``LABEL=PLACE`` to give it another name."""
    results = []
    for place in places:
        label, _, path = ("", "", place) if Path(place).exists() else place.rpartition("=")
        result = read_result(Path(path))
        results.append({**result, "label": label or result["label"]})
    check_comparable(results)
    return results


def read_result(path: Path) -> dict[str, Any]:
    """One finished evaluation, from its folder or its file."""
    file = path / RESULT if path.is_dir() else path
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"there is no finished evaluation at {path}: run `lifelong` until it is done") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}): measure it again") from error
    wanted = ("label", "backbone", "benchmark", "options", "runs")
    if not isinstance(result, dict) or result.get("format") != FORMAT or any(key not in result for key in wanted):
        raise InputError(f"{file} holds no lifelong evaluation: give a folder or file that `lifelong` has written")
    return result


def check_comparable(results: Sequence[Result]) -> None:
    """Refuse to put evaluations of different samples, or of one name, into one table."""
    labels = [result["label"] for result in results]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"two evaluations are called {label!r}: name them apart with LABEL=FOLDER")
    for result in results[1:]:
        same = all(_samples(result)[key] == value for key, value in _samples(results[0]).items())
        if not same:
            raise InputError(
                f"{results[0]['label']!r} and {result['label']!r} were measured on different samples "
                f"({json.dumps(_samples(results[0]))} and {json.dumps(_samples(result))}): compare evaluations of one "
                "benchmark, pool and list of seeds"
            )


def _samples(result: Result) -> dict[str, Any]:
    return {"benchmark": result["benchmark"], "seeds": result["options"]["seeds"]}


def rows_of(results: Sequence[Result]) -> Iterator[tuple[int, str, Mapping[str, Any], Mapping[str, Any]]]:
    """(edits, label, entry, values) by number of edits: every editor, then the floor of every backbone."""
    counts = sorted({entry["edits"] for result in results for entry in result["runs"]})
    backbones = list(dict.fromkeys(result["backbone"] for result in results))
    for count in counts:
        floors: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        for result in results:
            for entry in result["runs"]:
                if entry["edits"] == count:
                    yield count, result["label"], entry, entry["edited"]
                    floors.setdefault(result["backbone"], (entry, entry["unedited"]))
        for backbone, (entry, values) in floors.items():
            yield count, FLOOR if len(backbones) == 1 else f"{FLOOR} {backbone}", entry, values


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

    def part(title: str, columns: Mapping[str, str], interval: bool, present: str = "") -> list[str]:
        chosen = [row for row in rows if not present or present in row[3]]
        if not chosen:
            return []
        body = [
            [f"{count:,}", label, str(entry["tested"]), *(cell(values.get(key), interval) for key in columns)]
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
    lines = [
        "# Lifelong editing", "", *head, "",
        *part("The paper's metric, in percent", NAMES, True),
        *part("Written answers, in percent", {**written, "m_loc.same": "M-Loc. same"}, False),
        *part("Hard locality: answers identical to the unedited model's, in percent", hard, True, "hard.all"),
        *part("Routing of questions that an edit concerns", routing, True, "recall.all"),
        *part("False activations on pictures that no edit was made on", false, True, "false.some_passed"),
        *_age_tables(results),
        "## Cost", "", _cost_table(results), "",
        *(f"- {note}" for note in NOTES),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def cell(value: Mapping[str, Any] | None, interval: bool) -> str:
    """A mean with or without its interval; a dash where nothing was measured."""
    if value is None:
        return "–"
    mean = f"{value['mean']:.2f}"
    return f"{mean} [{value['low']:.2f}, {value['high']:.2f}]" if interval else mean


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
    for count in sorted({entry["edits"] for result in results for entry in result["runs"]}):
        found = [(r, e) for r in results for e in r["runs"] if e["edits"] == count and len(e["ages"]) > 1]
        if not found:
            continue
        # The bins follow from the number of edits; those without a tested edit are left out of a result.
        ages = list(dict.fromkeys(tuple(a["age"]) for _, e in found for a in e["ages"]))
        ages.sort(reverse=True)
        head = [low if low == high else f"{low}-{high}" for low, high in ages]
        body = []
        for result, entry in found:
            by_age = {tuple(a["age"]): a["edited"] for a in entry["ages"]}
            for key, title in (("rel", "Rel."), ("rel.exact", "Rel. exact"), ("m_gen.exact", "M-Gen. exact")):
                body.append([result["label"], title, *(cell(by_age.get(age, {}).get(key), False) for age in ages)])
        for backbone in dict.fromkeys(result["backbone"] for result, _ in found):
            values = next(e["unedited"] for r, e in found if r["backbone"] == backbone)
            for key, title in (("rel", "Rel."), ("rel.exact", "Rel. exact"), ("m_gen.exact", "M-Gen. exact")):
                body.append([FLOOR, title, *([cell(values.get(key), False)] * len(ages))])
        lines += [f"## {count:,} edits by age (edits applied later), in percent", ""]
        lines += [table(["model", "", *map(str, head)], body), ""]
    return lines


def _cost_table(results: Sequence[Result]) -> str:
    rows = []
    for count in sorted({entry["edits"] for result in results for entry in result["runs"]}):
        for result in results:
            for entry in (e for e in result["runs"] if e["edits"] == count):
                cost = entry["cost"]
                rows.append(
                    [
                        f"{count:,}",
                        result["label"],
                        f"{1000 * cost['seconds_per_edit']:.1f}",
                        f"{1000 * cost['seconds_per_answer_edited']:.1f}",
                        f"{1000 * cost['seconds_per_answer_unedited']:.1f}",
                        f"{cost['answer_ratio']:.2f}",
                        f"{cost['bytes']:,}",
                    ]
                )
    head = ["edits", "model", "ms per edit", "ms per answer of 4 tokens", "unedited", "ratio", "bytes of the edits"]
    return table(head, rows)


def write_tables(results: Sequence[Result], folder: Path, name: str = "lifelong") -> list[Path]:
    """``name.md`` with all tables, ``name.csv`` with a line per value, ``name-ages.csv`` and ``name-costs.csv``."""
    values = [
        (
            result["label"],
            result["backbone"],
            entry["edits"],
            model,
            metric,
            *(v[k] for k in ("mean", "low", "high", "n")),
        )
        for result in results
        for entry in result["runs"]
        for model in ("edited", "unedited")
        for metric, v in entry[model].items()
    ]
    ages = [
        (result["label"], entry["edits"], *age["age"], metric, *(v[k] for k in ("mean", "low", "high", "n")))
        for result in results
        for entry in result["runs"]
        for age in entry["ages"]
        for metric, v in age["edited"].items()
    ]
    costs = [
        (result["label"], entry["edits"], key, value)
        for result in results
        for entry in result["runs"]
        for key, value in entry["cost"].items()
    ]
    interval = ("mean", "low", "high", "n")
    return [
        write_text(folder / f"{name}.md", lifelong_tables(results)),
        write_csv(folder / f"{name}.csv", ("label", "backbone", "edits", "model", "metric", *interval), values),
        write_csv(folder / f"{name}-ages.csv", ("label", "edits", "youngest", "oldest", "metric", *interval), ages),
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
