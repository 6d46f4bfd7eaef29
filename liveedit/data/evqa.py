"""Reader of the E-VQA format (MMEdit, https://arxiv.org/abs/2310.08475), hard locality included.

A file is a JSON list of samples; pictures are named relative to a root folder. The optional key ``hard``
holds a list of ``{"kind", "image", "q", "a"}``, as the emoji world's benchmark writes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from liveedit.data.samples import HARD_KINDS, HardProbe, ImageSource, Sample
from liveedit.types import DataError

ANSWER_CUE = " The answer is:"
TEXTS = ("src", "rephrase", "alt", "loc", "loc_ans", "m_loc_q", "m_loc_a")
PICTURES = ("image", "image_rephrase", "m_loc")
SHOWN_PROBLEMS = 10


def with_cue(prompt: str) -> str:
    """The prompt with the benchmark's answer cue behind it, once."""
    prompt = prompt.strip()
    return prompt if prompt.endswith(ANSWER_CUE.strip()) else prompt + ANSWER_CUE


def with_question_mark(prompt: str) -> str:
    """The text-only prompt with a question mark behind it, once."""
    prompt = prompt.strip()
    return prompt if prompt.endswith("?") else prompt + "?"


def read_evqa(json_path: str | Path, image_root: str | Path, limit: int | None = None) -> list[Sample]:
    """Read the first ``limit`` samples (all without one); pictures are checked to exist and opened later.

    Raises :class:`DataError` with the first ten problems and their number when the file, a key, an answer or
    a picture is missing.
    """
    path, root = Path(json_path), Path(image_root)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the benchmark file {path} cannot be read ({error}): give a JSON file in the E-VQA format"
        ) from error
    if not isinstance(rows, list):
        raise DataError(f"the benchmark file {path} holds no list of samples: give a JSON file in the E-VQA format")
    if not rows:
        raise DataError(f"the benchmark file {path} is empty: give a JSON file with at least one sample")
    rows = rows if limit is None else rows[:limit]
    present: dict[Path, bool] = {}
    problems = [f"sample {i}: {p}" for i, row in enumerate(rows) for p in _problems(row, root, present)]
    if problems:
        shown = "; ".join(problems[:SHOWN_PROBLEMS])
        more = f"; and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DataError(f"the benchmark {path} has {count} ({shown}{more}): complete the file and its pictures")
    return [_sample(row, root) for row in rows]


def _problems(row: Any, root: Path, present: dict[Path, bool]) -> list[str]:
    """What is wrong with one sample, in words; ``present`` remembers which pictures were looked up."""
    if not isinstance(row, dict):
        return ["it is no JSON object"]
    found = [f"{key} is missing" for key in (*TEXTS, *PICTURES, "pred") if not isinstance(row.get(key), str)]
    found += [f"{key} is empty" for key in TEXTS if isinstance(row.get(key), str) and not row[key].strip()]
    pictures = [row[key] for key in PICTURES if isinstance(row.get(key), str)]
    hard = row.get("hard", [])
    if not isinstance(hard, list):
        return [*found, "hard is no list"]
    for number, probe in enumerate(hard):
        texts = [probe.get(k) for k in ("q", "a", "image")] if isinstance(probe, dict) else [None]
        if not all(isinstance(t, str) and t.strip() for t in texts):
            found.append(f"hard probe {number} lacks q, a or image")
        elif probe.get("kind") not in HARD_KINDS:
            found.append(f"hard probe {number} is of kind {probe.get('kind')!r}, not {' or '.join(HARD_KINDS)}")
        else:
            pictures.append(probe["image"])
    for name in dict.fromkeys(pictures):
        file = root / name
        if file not in present:
            present[file] = file.is_file()
        if not present[file]:
            found.append(f"the picture {file} does not exist")
    return found


def _sample(row: dict[str, Any], root: Path) -> Sample:
    """One checked row as a sample, its prompts in the form in which the benchmark asks them."""

    def picture(name: str) -> ImageSource:
        return ImageSource(root / name)

    return Sample(
        image=picture(row["image"]),
        image_rephrase=picture(row["image_rephrase"]),
        src=with_cue(row["src"]),
        rephrase=with_cue(row["rephrase"]),
        pred=row["pred"].strip(),
        alt=row["alt"].strip(),
        loc=with_question_mark(row["loc"]),
        loc_ans=row["loc_ans"].strip(),
        m_loc=picture(row["m_loc"]),
        m_loc_q=with_cue(row["m_loc_q"]),
        m_loc_a=row["m_loc_a"].strip(),
        hard=tuple(
            HardProbe(p["kind"], picture(p["image"]), with_cue(p["q"]), p["a"].strip()) for p in row.get("hard", [])
        ),
    )
