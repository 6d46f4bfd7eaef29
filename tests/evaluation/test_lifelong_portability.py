"""Portability in the lifelong protocol: values by hop, premises that touch nothing else, resuming, the shared floor."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liveedit.data import VLKEB, PortabilityProbe, read_benchmark
from liveedit.editors import LiveEdit
from liveedit.evaluation import LifelongOptions, evaluate, protocol, run_lifelong
from liveedit.evaluation.benchmarks import FileSource
from liveedit.types import InputError

FOUR = LifelongOptions((4,), (0,), least_tests=1, timed=1)


@pytest.fixture
def carrying(coloured: FileSource) -> FileSource:
    """Four edits, of which two carry questions: the edit itself; something unknown, and a second edit."""
    first, second, *rest = coloured.samples[:4]
    asked = (PortabilityProbe(2, "unknown?", "x"), PortabilityProbe(2, "premise?", "yes", ("premise?", "yes")))
    first = replace(first, portability=(PortabilityProbe(1, first.src, first.alt),))
    return FileSource("coloured", [first, replace(second, portability=asked), *rest])


def test_values_by_hop_worked_by_hand(forgetful: Any, carrying: FileSource, tmp_path: Path) -> None:
    result = run_lifelong(forgetful(100), carrying, FOUR, tmp_path)
    (entry,) = result["runs"]
    means = {name: (v["mean"], v["n"]) for name, v in entry["edited"].items() if name.startswith("port.")}
    for measure in ("teacher_forced", "exact", "contains", "f1"):
        # One sample has all of its questions right, the other one of two.
        assert means[f"port.{measure}"] == (75.0, 2)
        assert means[f"port.1-hop.{measure}"] == (100.0, 1)
        assert means[f"port.2-hop.{measure}"] == (50.0, 1)
        assert entry["unedited"][f"port.{measure}"]["mean"] == 0.0
    assert len(means) == 12
    assert entry["premises"] == 1
    assert "second edits" in result["notes"]["port"]
    plain = FileSource("coloured", [replace(sample, portability=()) for sample in carrying.samples])
    without = run_lifelong(forgetful(100), plain, FOUR, tmp_path / "plain")
    assert "port" not in without["notes"] and "premises" not in without["runs"][0]
    # The premises are known to these questions alone.
    assert without["runs"][0]["edited"] == {k: v for k, v in entry["edited"].items() if not k.startswith("port.")}
    assert entry["cost"]["bytes"] == without["runs"][0]["cost"]["bytes"] == 40
    assert not list((tmp_path / "plain").rglob("*-portability.json"))


def test_an_interrupted_evaluation_meets_the_same_premises(
    forgetful: Any, coloured: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [
        replace(s, portability=(PortabilityProbe(1, s.src, s.alt, (f"premise {n}?", "yes")),))
        for n, s in enumerate(coloured.samples[:4])
    ]
    source = FileSource("coloured", samples)
    monkeypatch.setattr("liveedit.evaluation.lifelong.BLOCK", 2)
    # Of four edits and their four premises it remembers the last six: all premises, and the last two edits.
    whole = run_lifelong(forgetful(6), source, FOUR, tmp_path / "whole")
    assert whole["runs"][0]["edited"]["port.exact"]["mean"] == 50.0

    def stop(done: int, total: int, label: str) -> None:
        if label.startswith("testing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lifelong(forgetful(6), source, FOUR, tmp_path / "parts", progress=stop)
    again = run_lifelong(forgetful(6), source, FOUR, tmp_path / "parts")
    assert again["runs"][0]["edited"] == whole["runs"][0]["edited"]


def test_the_floor_is_asked_once_and_refused_for_other_questions(
    forgetful: Any, carrying: FileSource, tmp_path: Path
) -> None:
    shared = tmp_path / "unedited"
    first = run_lifelong(forgetful(100), carrying, FOUR, tmp_path / "one", unedited=shared)
    (path,) = shared.rglob("*-portability.json")
    kept = json.loads(path.read_text())
    kept["values"] = [dict.fromkeys(row, 1.0) for row in kept["values"]]
    path.write_text(json.dumps(kept))
    second = run_lifelong(forgetful(100), carrying, FOUR, tmp_path / "two", unedited=shared)
    assert first["runs"][0]["unedited"]["port.exact"]["mean"] == 0.0
    assert second["runs"][0]["unedited"]["port.exact"]["mean"] == 100.0
    path.write_text(json.dumps({**kept, "values": [{}]}))
    with pytest.raises(InputError, match=r"portability\.json is damaged: delete it"):
        run_lifelong(forgetful(100), carrying, FOUR, tmp_path / "three", unedited=shared)
    path.write_text(json.dumps({**kept, "questions": [[]]}))
    with pytest.raises(InputError, match="answers another benchmark's questions"):
        run_lifelong(forgetful(100), carrying, FOUR, tmp_path / "four", unedited=shared)


def test_a_tiny_model_scores_as_in_a_single_evaluation(
    open_editor: LiveEdit, publish: Callable[..., Path], published_row: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(protocol, "MAX_NEW_TOKENS", 2)
    rows = [published_row("vlkeb", n) for n in range(2)]
    for row in rows:
        row["port_new"] = [{"port_type": "2-hop", "Q&A": {"Question": "Whose?", "Answer": "Ann's boat"}}]
    root = publish("eval_multihop.json", rows, "mmkb_images")
    samples = read_benchmark(VLKEB, root / "eval_multihop.json", root).samples
    options = LifelongOptions((2,), (0,), least_tests=2, timed=1, max_new_tokens=2)
    (entry,) = run_lifelong(open_editor, FileSource("vlkeb", samples), options, tmp_path / "out")["runs"]
    found = evaluate(open_editor, samples)["portability"]
    for model in ("edited", "unedited"):
        for measure, wanted in found[model]["all"].items():
            assert entry[model][f"port.{measure}"]["mean"] == wanted
            assert entry[model][f"port.2-hop.{measure}"]["mean"] == wanted
    assert entry["premises"] == found["premises"] == 0
