"""What a long evaluation keeps on disk: JSON files that are written whole or not at all, and the unedited answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liveedit.editors import Editor
from liveedit.evaluation.asking import BATCH, Response, respond
from liveedit.evaluation.benchmarks import Benchmark
from liveedit.evaluation.portability import ask_portability, portability_values
from liveedit.files import whole
from liveedit.types import InputError

BLOCK = 32  # samples that are asked together, and whose pictures are in memory at once
SETTINGS = "settings.json"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object so that an interruption leaves the previous file whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}): free some space or choose another folder") from error


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Read one JSON object that has ``keys``; anything else is refused as damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it, and what it held is measured again") from error
    if not isinstance(value, dict) or any(key not in value for key in keys):
        raise InputError(f"{path} is damaged: delete it, and what it held is measured again")
    return value


def claim_folder(folder: Path, settings: Mapping[str, Any], what: str) -> None:
    """Write ``settings`` to a folder, or refuse one that holds ``what`` of other settings."""
    path = folder / SETTINGS
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, wanted)
        return
    found, asked = _leaves(read_json(path)), _leaves(wanted)
    for key in dict.fromkeys([*asked, *found]):
        if found.get(key) != asked.get(key):
            raise InputError(
                f"{folder} holds {what} with {key} {json.dumps(found.get(key))}, not {json.dumps(asked.get(key))}: "
                "choose another folder"
            )


def _leaves(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested objects by dotted names."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found.update(_leaves(inner, f"{prefix}{key}.") if isinstance(inner, Mapping) else {f"{prefix}{key}": inner})
    return found


class UneditedAnswers:
    """The unedited model's responses to a benchmark's samples, in blocks on disk.

    They depend on neither editor nor number of edits, so evaluations of several editors on one benchmark can share a
    folder of them. Blocks are the same whoever asks first, so sharing changes no number.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self._last: tuple[Path, list[Response]] | None = None
        self._last_portability: tuple[Path, list[dict[str, float]]] | None = None
        claim_folder(folder, settings, "unedited answers")

    def responses(
        self,
        editor: Editor[Any],
        benchmark: Benchmark,
        seed: int,
        positions: Sequence[int],
        max_new_tokens: int,
        batch_size: int = BATCH,
    ) -> list[Response]:
        """The responses to the samples at ``positions`` of the seed's benchmark, asked for where they are not known.

        ``batch_size`` questions are asked at once.
        """
        found = []
        for position in positions:
            block = self._block(editor, benchmark, seed, position // BLOCK, max_new_tokens, batch_size)
            found.append(block[position % BLOCK])
        return found

    def portability(
        self,
        editor: Editor[Any],
        benchmark: Benchmark,
        seed: int,
        positions: Sequence[int],
        max_new_tokens: int,
        batch_size: int = BATCH,
    ) -> list[dict[str, float]]:
        """What the samples' portability questions score, in files of their own; nothing for samples without any."""
        found = []
        for position in positions:
            number = position // BLOCK
            path = self.folder / f"seed-{seed}" / f"{number:05d}-portability.json"
            if self._last_portability is None or self._last_portability[0] != path:
                samples = benchmark.samples[number * BLOCK : (number + 1) * BLOCK]
                asked = [[[probe.question, probe.answer] for probe in sample.portability] for sample in samples]
                if path.exists() and any(asked):
                    block = self._read_portability(path, asked)
                else:
                    questions = ask_portability(editor, None, samples, max_new_tokens, batch_size)
                    block = [portability_values(row) for row in questions]
                    if any(asked):
                        write_json(path, {"questions": asked, "values": block})
                self._last_portability = (path, block)
            found.append(self._last_portability[1][position % BLOCK])
        return found

    @staticmethod
    def _read_portability(path: Path, asked: Sequence[Any]) -> list[dict[str, float]]:
        value = read_json(path, "questions", "values")
        if value["questions"] != asked:
            raise InputError(f"{path} answers another benchmark's questions: choose another folder")
        rows: list[dict[str, float]] = value["values"]
        if not isinstance(rows, list) or [bool(row) for row in rows] != [bool(questions) for questions in asked]:
            raise InputError(f"{path} is damaged: delete it, and what it held is measured again")
        return rows

    def _block(
        self, editor: Editor[Any], benchmark: Benchmark, seed: int, number: int, max_new_tokens: int, batch_size: int
    ) -> list[Response]:
        path = self.folder / f"seed-{seed}" / f"{number:05d}.json"
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        samples = benchmark.samples[number * BLOCK : (number + 1) * BLOCK]
        if path.exists():
            block = self._read(path, [sample.src for sample in samples])
        else:
            block = respond(editor, None, samples, [""] * len(samples), max_new_tokens, batch_size)
            prompts = [sample.src for sample in samples]
            write_json(path, {"prompts": prompts, "responses": [response.to_json() for response in block]})
        self._last = (path, block)
        return block

    @staticmethod
    def _read(path: Path, prompts: Sequence[str]) -> list[Response]:
        value = read_json(path, "prompts", "responses")
        if value["prompts"] != list(prompts):
            raise InputError(f"{path} answers another benchmark's questions: choose another folder")
        try:
            block = [Response.from_json(row) for row in value["responses"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path} is damaged: delete it, and what it held is measured again") from error
        if len(block) != len(prompts):
            raise InputError(f"{path} is damaged: delete it, and what it held is measured again")
        return block
