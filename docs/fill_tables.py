"""Write the measured tables of README and model cards from the committed JSON files.

    python docs/fill_tables.py

Text between `<!-- table:NAME -->` and `<!-- /table -->` is replaced; nothing else is touched.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = ("README.md", "docs/baselines.md", "checkpoints/emoji-llava/README.md", "checkpoints/emoji-llava-liveedit/README.md")
GROUP_TARGETS = {"name": 95, "position": 90, "colour": 95, "count": 95, "facts of flags": 90, "photographs": 70, "copy": 95}
WORLD_TARGETS = {
    100: {"rel": 94, "t_gen": 91, "m_gen": 87, "t_loc": 100, "m_loc": 98, "average": 94, "hard": 87, "free": 88},
    1000: {"rel": 90, "t_gen": 87, "m_gen": 82, "t_loc": 100, "m_loc": 96, "average": 91, "hard": 82, "free": 84},
}
SPEED = (
    ("edit_ratio", "an edit, against the backbone's forward pass to layer l_e", "{:.2f} x", "<= 1.5 x"),
    ("answer_ratio", "an answer with 1,000 experts, against the unedited answer", "{:.3f} x", "<= 1.15 x"),
    ("heatmap_seconds", "the page's three heatmaps", "{:.2f} s", "<= 2 s"),
    ("app_seconds", "`python app.py` until the page answers", "{:.1f} s", "<= 20 s"),
)


def read(name: str) -> Any:
    """A result file, or None while it has not been measured."""
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else None


def backbone_table() -> str:
    """Exact match of the backbone by group, with the targets."""
    report = read("backbone.json")
    if report is None:
        return "Not measured yet."
    rows = ["| held-out scenes and wordings, greedy, exact match | n | % | target |", "|---|---|---|---|"]
    for name, group in report["groups"].items():
        target = GROUP_TARGETS.get(name)
        rows.append(f"| {name} | {group['n']} | {group['accuracy']:.1f} | {f'>= {target}' if target else ''} |")
    return "\n".join(rows)


def world_table() -> str:
    """The world's benchmark at each measured number of edits, with the unedited floor and the targets."""
    rows = [
        "| edits | | Rel | T-Gen | M-Gen | T-Loc | M-Loc | Average | hard locality | Rel, free generation |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for count, target in WORLD_TARGETS.items():
        report = read(f"world-{count}.json")
        if report is None:
            continue
        for label, key in (("LiveEdit", "edited"), ("unedited model", "unedited")):
            part = report[key]
            paper = part["paper"]
            cells = [f"{paper[c]:.1f}" for c in ("rel", "t_gen", "m_gen", "t_loc", "m_loc", "average")]
            cells += [f"{part['hard_locality']['all']:.1f}", f"{part['generation']['rel']['exact']:.1f}"]
            rows.append(f"| {count} | {label} | " + " | ".join(cells) + " |")
        rows.append(f"| {count} | target | " + " | ".join(f">= {v}" for v in target.values()) + " |")
    return "\n".join(rows)


def speed_table() -> str:
    """Costs with their targets."""
    report = read("speed.json")
    if report is None:
        return "Not measured yet."
    rows = ["| | measured | target |", "|---|---|---|"]
    rows += [f"| {label} | {form.format(report[key])} | {target} |" for key, label, form, target in SPEED]
    return "\n".join(rows)


def editors_table() -> str:
    """Every editor at each number of edits, mean of all seeds; the unedited floor last."""
    report = read("editors.json")
    if report is None:
        return "Not measured yet."
    counts = [run["edits"] for run in report["results"][0]["runs"]]
    most = f"{counts[-1]:,}"
    head = ["editor", f"Rel at {counts[0]}", *(f"average at {count:,}" for count in counts)]
    head += [f"M-Loc at {most}", f"hard locality at {most}", "seconds an edit", "bytes an edit", "answer, edited : unedited"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]

    def row(label: str, parts: list[dict[str, Any]], costs: list[str]) -> str:
        cells = [parts[0]["rel"], *(part["average"] for part in parts), parts[-1]["m_loc"], parts[-1]["hard.all"]]
        return f"| {label} | " + " | ".join([*(f"{cell['mean']:.1f}" for cell in cells), *costs]) + " |"

    for result in report["results"]:
        runs, cost = result["runs"], result["runs"][-1]["cost"]
        costs = [f"{cost['seconds_per_edit']:.3f}", f"{cost['bytes'] / counts[-1]:,.0f}", f"{cost['answer_ratio']:.2f}"]
        rows.append(row(result["label"], [run["edited"] for run in runs], costs))
    rows.append(row("unedited", [run["unedited"] for run in report["results"][0]["runs"]], ["–", "–", "1"]))
    return "\n".join(rows)


def main() -> None:
    """Fill every page that exists."""
    tables = {"backbone": backbone_table(), "world": world_table(), "speed": speed_table(), "editors": editors_table()}
    for page in PAGES:
        path = ROOT / page
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        for name, table in tables.items():
            pattern = rf"(<!-- table:{name} -->\n).*?(<!-- /table -->)"
            text = re.sub(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
