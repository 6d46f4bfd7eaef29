"""What a training run leaves on disk: its curve as JSON lines, checkpoints written atomically, TensorBoard's events.

With the editor stands a record: the configuration of its training, and the seconds that it took.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from liveedit.files import whole
from liveedit.types import ConfigError, DataError

STATE = "training-state.pt"
CURVE = "curve.jsonl"
EVENTS = "tensorboard"
RECORD = "training.json"


class Curve:
    """Appends one JSON object a line to ``run``/curve.jsonl; a resumed run first drops the lines it will repeat.

    With ``tensorboard`` the figures also go to event files, one folder a stage, under ``run``/tensorboard.
    """

    def __init__(self, run: Path, stage: str, step: int, tensorboard: bool = False) -> None:
        self.path, self.stage = run / CURVE, stage
        if self.path.exists():
            kept = [row for row in read_curve(self.path) if row["stage"] != stage or row["step"] < step]
            self.path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self.writer: Any = None
        if tensorboard:
            check_tensorboard()
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(run / EVENTS / stage), purge_step=step)  # type: ignore[no-untyped-call]

    def add(self, step: int, seconds: float, **figures: float) -> None:
        """Append one line."""
        with self.path.open("a") as handle:
            handle.write(json.dumps({"stage": self.stage, "step": step, "seconds": seconds, **figures}) + "\n")
        if self.writer is not None:
            for name, value in figures.items():
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out the events that TensorBoard's writer still holds."""
        if self.writer is not None:
            self.writer.close()


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The lines of a curve; a last one that an interruption cut short is left out."""
    lines = path.read_text().splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise DataError(f"line {number} of the curve {path} is damaged: remove the file and resume") from error
    return rows


def check_tensorboard() -> None:
    """Refuse to write TensorBoard's events where its package, which is no dependency of ours, is missing."""
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "--tensorboard needs the package tensorboard: run `pip install tensorboard`, or leave the option out "
            f"({CURVE} is written in any case)"
        )


@dataclass
class Clock:
    """Wall-clock seconds of a training: of this run since the clock was made, and of what it goes on from.

    Those are ``complete`` when nothing is left out that came before.
    """

    began: float = field(default_factory=time.monotonic)
    before: float = 0.0
    complete: bool = True

    def after(self, record: Mapping[str, Any]) -> None:
        """Count in what :meth:`read` gave where this run goes on; without such figures the seconds are not complete."""
        self.before += record.get("seconds", 0.0)
        self.complete = self.complete and bool(record.get("seconds_complete", False))

    def read(self) -> dict[str, Any]:
        """The seconds until now, and whether they are complete."""
        return {"seconds": round(self.before + time.monotonic() - self.began, 1), "seconds_complete": self.complete}


def save_record(folder: Path, config: Any, clock: Clock, **more: str) -> None:
    """Write the record of a training beside its editor, with what ``more`` is known of it."""
    text = json.dumps({**asdict(config), **more, **clock.read()}, indent=2)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the training of an editor; empty where there is none that can be read."""
    try:
        values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def save_state(path: Path, payload: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the previous one whole."""
    with whole(path) as part:
        torch.save(payload, part)


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise errors of any type
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"the checkpoint {path} cannot be read ({reason}): restore it, or begin the training anew in another folder"
        ) from error
    if not isinstance(state, dict):
        raise DataError(f"{path} is not a checkpoint of a training: begin the training anew in another folder")
    return state
