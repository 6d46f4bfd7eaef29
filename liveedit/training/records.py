"""What a training run leaves on disk: its curve as JSON lines, and checkpoints written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

STATE = "training-state.pt"


class Curve:
    """Appends one JSON object a line to a file; a resumed run first drops the lines it will repeat."""

    def __init__(self, path: Path, stage: str, step: int) -> None:
        self.path = path
        if path.exists():
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [row for row in rows if row["stage"] != stage or row["step"] < step]
            path.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def add(self, **values: Any) -> None:
        """Append one line."""
        with self.path.open("a") as handle:
            handle.write(json.dumps(values) + "\n")


def save_state(path: Path, payload: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the previous one whole."""
    part = path.with_suffix(".part")
    torch.save(payload, part)
    os.replace(part, path)
