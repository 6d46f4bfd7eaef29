"""All editors side by side: the tables of their lifelong evaluations, and what each costs in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liveedit.evaluation.cost import PARTS
from liveedit.evaluation.lifelong_figures import write_figures
from liveedit.evaluation.lifelong_report import FLOOR, lifelong_tables, write_tables, write_text
from liveedit.evaluation.report import number, table
from liveedit.evaluation.store import read_json, write_json

FORMAT = "liveedit-editors-1"
RESULT = "editors.json"
# Names as in the paper's tables, and the order of their rows; the last two it lacks.
LABELS = {
    "ft-l": "FT-L",
    "ft-m": "FT-M",
    "mend": "MEND",
    "serac": "SERAC",
    "tp": "TP",
    "lte": "LTE",
    "recipe": "RECIPE",
    "lemoe": "LEMoE",
    "liveedit": "LiveEdit",
    "retrieval": "multimodal retrieval",
    "unedited": "unedited",
}


def training_time(folder: Path) -> dict[str, Any]:
    """``training_seconds`` of the editor in ``folder`` (None where nothing says), and ``training_complete``.

    Where its training has not recorded all of its seconds, they are at least those on its curve.
    """
    record: dict[str, Any] = {}
    if (folder / "training.json").exists():
        record = read_json(folder / "training.json")
    if record.get("seconds_complete"):
        return {"training_seconds": record["seconds"], "training_complete": True}
    known = [seconds for seconds in (record.get("seconds"), curve_seconds(folder / "curve.jsonl")) if seconds is not None]
    return {"training_seconds": max(known, default=None), "training_complete": False}


def curve_seconds(curve: Path) -> float | None:
    """Seconds on a training's curve, all stages together; None where there is no curve.

    A stage's clock begins anew when its training was interrupted and resumed; all its stretches count.
    """
    if not curve.exists():
        return None
    total, last, stage = 0.0, 0.0, None
    for line in curve.read_text(encoding="utf-8").splitlines():
        point = json.loads(line)
        if point["stage"] != stage or point["seconds"] < last:
            total += last
        stage, last = point["stage"], float(point["seconds"])
    return total + last


def costs_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Seconds per edit, training time, bytes per edit and slowdown of an answer at the largest number of edits."""
    most = max(entry["edits"] for result in results for entry in result["runs"])
    rows = []
    for result in results:
        cost = next(entry["cost"] for entry in result["runs"] if entry["edits"] == most)
        trained, at_least = result.get("training_seconds"), "" if result.get("training_complete") else "at least "
        rows.append(
            [
                result["label"],
                f"{cost['seconds_per_edit']:.3f}",
                "–" if trained is None else f"{at_least}{trained / 60:.0f} min",
                f"{cost['bytes'] / most:,.0f}",
                *(number(cost.get(f"{part}_ratio")) for part in ("answer", *PARTS)),
            ]
        )
    rows.append([FLOOR, "–", "–", "0", *(["1.00"] * (1 + len(PARTS)))])
    head = ["editor", "seconds per edit", "training", "bytes per edit", "answer, edited : unedited", "prefill", "decoding"]
    return "\n".join([f"# What editors cost, {most:,} edits", "", table(head, rows), ""])


def write_editors(results: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """``editors.json`` with everything, the tables and figures of ``report``, and ``editors-cost.md``."""
    write_json(folder / RESULT, {"format": FORMAT, "results": list(results)})
    return [
        folder / RESULT,
        *write_tables(results, folder, "editors"),
        write_text(folder / "editors-cost.md", costs_table(results)),
        *write_figures(results, folder, "editors"),
    ]


def editors_text(results: Sequence[Mapping[str, Any]]) -> str:
    """What the command prints: quality, then cost."""
    return f"{lifelong_tables(results)}\n{costs_table(results)}"
