"""Draw the training curves of the shipped checkpoints from the `curve.jsonl` beside each.

    python docs/plot_curves.py

Steps are counted on through the stages; a run that was interrupted continues where its last checkpoint was.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1] / "checkpoints"
PANELS: dict[str, tuple[tuple[str, dict[str, str]], ...]] = {
    "emoji-llava": (
        (
            "answers: share of tokens right",
            {
                "picture_tokens": "on pictures",
                "held_out_picture_tokens": "on pictures, held-out wordings",
                "text_tokens": "in text",
                "held_out_text_tokens": "in text, held-out wordings",
            },
        ),
        (
            "vision tower: share of patches right",
            {"glyph_patches": "glyphs, first stage", "patches": "scenes and photographs", "photo_patches": "photographs"},
        ),
    ),
    "emoji-llava-liveedit": (
        ("new answers: share of tokens right", {"tokens_right": "tokens"}),
        ("hard routing: share of own edits that passed", {"own_passed": "own edit"}),
    ),
}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a curve with ``at``, the step counted over all stages; what a resumed run did again replaces the old."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    lengths: dict[str, int] = {}
    for row in rows:
        kept[row["stage"], row["step"]] = row
        lengths[row["stage"]] = max(lengths.get(row["stage"], 0), row["step"] + 1)
    starts, total = {}, 0
    for stage, length in lengths.items():
        starts[stage] = total
        total += length
    found = [{**row, "at": starts[stage] + step} for (stage, step), row in kept.items()]
    return sorted(found, key=lambda row: row["at"])


def main() -> None:
    """One picture per checkpoint."""
    for name, panels in PANELS.items():
        rows = rows_of(ROOT / name / "curve.jsonl")
        figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.2), layout="constrained")
        for axis, (title, series) in zip(axes, panels, strict=True):
            for key, label in series.items():
                points = [(row["at"], row[key]) for row in rows if key in row]
                if points:
                    axis.plot(*zip(*points, strict=True), label=label, linewidth=1.4)
            ends = [row["at"] for row, after in itertools.pairwise(rows) if row["stage"] != after["stage"]]
            for end in ends:
                axis.axvline(end, color="0.8", linewidth=1)
            axis.set(title=title, xlabel="step", ylim=(0, 1.02))
            axis.grid(alpha=0.25)
            axis.legend(fontsize=8, loc="lower right", frameon=False)
        path = ROOT / name / "curve.png"
        figure.savefig(path, dpi=110)
        plt.close(figure)
        print(path.relative_to(ROOT.parent))


if __name__ == "__main__":
    main()
