"""What ``compare`` leaves in its folder, and finds there again: each editor's evaluation, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TIMES = "times.json"
FLOOR = "unedited"  # the model that is no editor; also the folder of its answers, which all editors share
ALIKE = ("benchmark", "backbone", "options")


def in_order() -> list[str]:
    """All registered editors, in the order of the tables' rows."""
    from liveedit.editors import EDITORS
    from liveedit.evaluation.editors_report import LABELS

    return [*(name for name in LABELS if name in EDITORS), *sorted(set(EDITORS) - set(LABELS))]


@contextmanager
def timed(folder: Path, trained: str) -> Iterator[None]:
    """Record what an editor took beside its evaluation in ``folder``: the training at ``trained``, and the measuring inside.

    Interrupted runs add up. If one was killed, or not timed, ``measuring_complete`` is false: the seconds are at least these.
    """
    from liveedit.evaluation.lifelong import RESULT
    from liveedit.evaluation.store import SETTINGS, read_json, write_json
    from liveedit.training.records import Clock

    if (folder / RESULT).exists():
        yield
        return
    clock, path = Clock(), folder / TIMES
    if (folder / SETTINGS).exists():
        before = read_json(path) if path.exists() else {}
        clock.after({"seconds": before.get("measuring_seconds", 0.0), "seconds_complete": before.get("measuring_complete")})

    def write(complete: bool) -> None:
        measured = clock.read()
        write_json(
            path,
            {
                **_training_time(trained),
                "measuring_seconds": measured["seconds"],
                "measuring_complete": complete and measured["seconds_complete"],
            },
        )

    write(complete=False)
    try:
        yield
    finally:
        write(complete=True)


def finished(out: Path, like: str, place: Callable[[str], str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The evaluations in ``out`` that were made as that of ``like`` was, with their seconds, in the order of the tables' rows.

    Also returns the names of the editors that have none. ``place`` says where an editor lies by its name, for evaluations
    that were not timed.
    """
    from liveedit.evaluation.lifelong import RESULT
    from liveedit.evaluation.lifelong_reading import read_result
    from liveedit.evaluation.store import read_json

    first, found, missing = read_result(out / like), [], []
    for name in (name for name in in_order() if name != FLOOR):
        result = read_result(out / name) if (out / name / RESULT).exists() else {}
        if any(result.get(key) != first[key] for key in ALIKE):
            missing.append(name)
            continue
        times = out / name / TIMES
        took = read_json(times) if times.exists() else _training_time(place(name))
        found.append({**result, **took})
    return found, missing


def _training_time(folder: str) -> dict[str, Any]:
    """What the training of the editor in ``folder`` took; nothing is said of one that has none."""
    from liveedit.evaluation.editors_report import training_time

    return training_time(Path(folder)) if folder else {}
