"""Which evaluation samples a training file gives away, and the subsets without them.

Of the published splits every M-Loc question of E-VQA and E-IC also occurs in training, and two thirds of E-VQA's
edits are of pictures that training edits. A subset is computed from the training file itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from liveedit.data.rows import PICTURES, load_rows
from liveedit.types import DataError

SUBSETS = {
    "all": "every sample",
    "unseen-images": "the edit's picture is not the picture of an edit in training",
    "unseen-locality": "the M-Loc question is not asked of its picture in training",
    "leak-free": "both, and none of the sample's pictures occurs in training in any role",
}


def subset_of(name: str, training: str | Path | None) -> Callable[[Any], bool]:
    """Whether a row belongs to a subset of :data:`SUBSETS`; a row that cannot be judged does not.

    Pictures are compared by folder and file name, questions apart from case and surrounding space.
    Raises :class:`DataError` for an unknown subset, or one that needs the ``training`` file and has none.
    """
    if name not in SUBSETS:
        raise DataError(f"the subset is {name!r}: choose {', '.join(SUBSETS)}")
    if name == "all":
        return lambda row: True
    if training is None:
        raise DataError(f"the subset {name} is computed from the training file: name it with --training-file")
    rows = load_rows(training)
    if not all(_judged(row) for row in rows):
        raise DataError(f"the training file {training} has a sample without its pictures or m_loc_q: check its format")
    edited = {_picture(row["image"]) for row in rows}
    asked = {_asked(row) for row in rows}
    seen = {_picture(row[key]) for row in rows for key in PICTURES}

    def unseen_image(row: Any) -> bool:
        return _picture(row["image"]) not in edited

    def unseen_locality(row: Any) -> bool:
        return _asked(row) not in asked

    def leak_free(row: Any) -> bool:
        return unseen_image(row) and unseen_locality(row) and all(_picture(row[key]) not in seen for key in PICTURES)

    chosen = {"unseen-images": unseen_image, "unseen-locality": unseen_locality, "leak-free": leak_free}[name]
    return lambda row: _judged(row) and chosen(row)


def _judged(row: Any) -> bool:
    """Whether a row has what the comparison needs."""
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in (*PICTURES, "m_loc_q"))


def _picture(name: str) -> str:
    """A picture's folder and file name: what stands before them differs between copies of a benchmark."""
    return "/".join(name.strip().split("/")[-2:])


def _asked(row: dict[str, Any]) -> tuple[str, str]:
    """The M-Loc picture and question."""
    return _picture(row["m_loc"]), row["m_loc_q"].strip().casefold()
