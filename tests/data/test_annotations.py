"""Which annotations training may draw from, and which are kept for evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liveedit.data.annotations import held_out, read_exchanges
from liveedit.types import DataError


def write(path: Path, questions: list[tuple[str, str]]) -> Path:
    rows = [{"src": q, "rephrase": r, "alt": f"answer {i}"} for i, (q, r) in enumerate(questions)]
    path.write_text(json.dumps(rows))
    return path


def test_no_text_of_the_held_out_exchanges_is_met_in_training(tmp_path: Path) -> None:
    # Question i is rephrased as question 3 i, so many texts stand in several exchanges.
    questions = [(f"What is number {i}?", f"What is number {3 * i}?") for i in range(400)]
    file = write(tmp_path / "a.json", questions)
    train, kept = read_exchanges([file]), read_exchanges([file], "eval")
    met = {text.lower() for exchange in train for text in exchange[:2]}
    assert len(train) > 250 and len(kept) > 10
    assert all(q.lower() not in met and r.lower() not in met for q, r, _ in kept)
    assert not any(held_out(text) for text in met)


def test_case_does_not_decide_what_is_held_out() -> None:
    assert all(held_out(f"Is it {i}?") == held_out(f"IS IT {i}? ") for i in range(100))


def test_unknown_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="choose 'train' or 'eval'"):
        read_exchanges([write(tmp_path / "a.json", [("a", "b")])], "test")
