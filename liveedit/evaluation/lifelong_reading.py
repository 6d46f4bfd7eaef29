"""Finished lifelong evaluations from their files, and which of them may stand in one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liveedit.evaluation.lifelong import FORMAT, RESULT
from liveedit.types import InputError

Result = Mapping[str, Any]


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
    wanted = ("label", "backbone", "benchmark", "editor", "options", "runs")
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
