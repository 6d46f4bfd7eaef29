"""Portability by number of hops, premises that touch nothing else, and pictures that do not pile up."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from liveedit.config import EditorConfig
from liveedit.data import VLKEB, ImageSource, PortabilityProbe, Sample, read_benchmark
from liveedit.editors import LiveEdit
from liveedit.editors.base import Prediction
from liveedit.evaluation import evaluate, portability, protocol, to_markdown
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Edit, InputError, RoutingTrace

CONFIG = EditorConfig(hidden_size=4, layer=0, module_dim=4, rank=1, queries=1, heads=2)


class Scripted:
    """An editor that knows the answers of its edits by their prompts, and "half", of which it knows one token of two."""

    def __init__(self) -> None:
        self.config = CONFIG
        self.backbone = type("Backbone", (), {"fingerprint": "scripted"})()
        self.watch: Callable[[], None] = lambda: None

    def empty(self) -> ExpertRepository:
        return ExpertRepository.empty(self.config)

    def edit(self, repository: ExpertRepository, edits: list[Edit], *, template: bool) -> list[str]:
        count = len(edits)
        shapes = {"U": (1, 4), "V": (1, 4), "phi": (1, 4), "psi": (1, 4)}
        return repository.add(edits, **{name: torch.zeros(count, *shape) for name, shape in shapes.items()})

    def known(self, repository: ExpertRepository | None) -> set[str]:
        return set() if repository is None else {expert.edit.prompt for expert in repository}

    def predict(self, repository: Any, queries: Any, targets: Any, *, template: bool) -> list[Prediction]:
        self.watch()
        known = self.known(repository)
        right = [(7, 8) if q.prompt in known else (7, 0) if known and q.prompt == "half" else (0, 0) for q in queries]
        return [Prediction((7, 8), values) for values in right]

    def answer(self, repository: Any, query: Any, *, max_new_tokens: int, template: bool) -> Any:
        self.watch()
        if not isinstance(query, list):
            return Answer("", ())
        known = self.known(repository)
        return [Answer("yes" if q.prompt in known else "no", (), RoutingTrace()) for q in query]


def sample(number: int, *probes: PortabilityProbe) -> Sample:
    picture = ImageSource(Image.new("RGB", (4, 4)))
    return Sample(
        picture, picture, f"src {number}", "again", "", "yes", "loc", "x", picture, "q", "a", portability=probes
    )


def test_portability_by_hop_worked_by_hand() -> None:
    samples = [
        sample(0, PortabilityProbe(1, "src 0", "yes"), PortabilityProbe(2, "half", "yes")),
        sample(1),
        sample(2, PortabilityProbe(2, "src 1", "yes"), PortabilityProbe(2, "unknown", "no")),
    ]
    editor: Any = Scripted()
    calls: list[tuple[int, int, str]] = []
    result = evaluate(editor, samples, 0, lambda *call: calls.append(call))
    found = result["portability"]
    assert (found["questions"], found["premises"]) == (4, 0)
    # 1-hop: one of one. 2-hop: half, all and nothing of the tokens; "no", "yes" and "no" where yes, yes, no is right.
    assert found["edited"]["by_hop"] == {
        "1-hop": {"teacher_forced": 100.0, "exact": 100.0, "contains": 100.0, "f1": 100.0, "questions": 1},
        "2-hop": {"teacher_forced": 50.0, "exact": 66.67, "contains": 66.67, "f1": 66.67, "questions": 3},
    }
    assert found["edited"]["all"] == {"teacher_forced": 62.5, "exact": 75.0, "contains": 75.0, "f1": 75.0}
    assert found["unedited"]["all"] == {"teacher_forced": 0.0, "exact": 25.0, "contains": 25.0, "f1": 25.0}
    assert "portability" in result["notes"]
    assert calls[-1] == (14, 14, "portability")  # 3 edited, 3 tested, 2 x 3 timed, 2 that carry questions
    text = to_markdown(result)
    assert "Portability, in percent (0 second edits)" in text
    assert "edited, 2-hop" in text and "unedited, all" in text


def test_a_result_without_such_questions_has_no_portability() -> None:
    editor: Any = Scripted()
    result = evaluate(editor, [sample(0)])
    assert "portability" not in result and "portability" not in result["notes"]
    assert "Portability" not in to_markdown(result)


def test_premises_are_known_to_the_portability_questions_alone() -> None:
    probe = PortabilityProbe(1, "premise", "yes", ("premise", "yes"))
    editor: Any = Scripted()
    plain = sample(0)
    lone = evaluate(editor, [plain, sample(1)])
    result = evaluate(editor, [replace(plain, portability=(probe,)), sample(1)])
    assert (result["portability"]["premises"], result["portability"]["edited"]["all"]["exact"]) == (1, 100.0)
    assert result["portability"]["unedited"]["all"]["exact"] == 0.0
    for key in ("edited", "unedited", "routing", "edits"):
        assert result[key] == lone[key]


def test_a_tiny_model_is_asked_its_portability(
    open_editor: LiveEdit, publish: Callable[..., Path], published_row: Any, monkeypatch: pytest.MonkeyPatch,
    asked: list[int],
) -> None:  # fmt: skip
    monkeypatch.setattr(protocol, "MAX_NEW_TOKENS", 2)
    rows = [published_row("vlkeb", n) for n in range(2)]
    rows[1]["port_new"] = [
        {"port_edit_q": "Who?", "port_edit_a": "Ann", "port_q": question, "port_a": "Ann's boat"}
        for question in ("Whose?", "Whose is it?", "And this one?")
    ]
    root = publish("eval_edit_onehop.json", rows, "mmkb_images")
    samples = read_benchmark(VLKEB, root / "eval_edit_onehop.json", root).samples
    result = evaluate(open_editor, samples)
    assert max(asked) > 2
    asked.clear()
    # How many questions are asked at once decides none of the figures.
    again = evaluate(open_editor, samples, batch_size=2)
    assert max(asked) == 2
    assert {**again, "cost": None} == {**result, "cost": None}
    with pytest.raises(InputError, match="the batch size is 0: choose 1 to 64"):
        evaluate(open_editor, samples, batch_size=0)
    assert (result["edits"], result["portability"]["questions"], result["portability"]["premises"]) == (2, 3, 3)
    config = open_editor.config
    numbers = 2 * config.rank * config.hidden_size + 2 * config.queries * config.module_dim
    assert result["cost"]["repository_bytes"] == 2 * 4 * numbers  # the two edits', not the premises'
    assert set(result["portability"]["edited"]["by_hop"]) == {"1-hop"}


def test_pictures_are_closed_and_do_not_pile_up(
    publish: Callable[..., Path], published_row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CHUNK", 2)
    monkeypatch.setattr(portability, "CHUNK", 2)
    monkeypatch.setattr(protocol, "TIMED", 1)
    rows = [published_row("vlkeb", n) for n in range(8)]
    for row in rows:
        row["port_new"] = [{"port_q": "Q?", "port_a": "x", "port_edit_q": "P?", "port_edit_a": "y"}]
    root = publish("eval.json", rows)
    samples = read_benchmark(VLKEB, root / "eval.json", root).samples
    files: list[Any] = []
    decoded: list[weakref.ref[Image.Image]] = []
    most = 0
    real_file, real_source = Image.open, ImageSource.open

    def open_file(*args: Any, **options: Any) -> Image.Image:
        files.append(real_file(*args, **options))
        return files[-1]

    def open_source(source: ImageSource) -> Image.Image:
        picture = real_source(source)
        decoded.append(weakref.ref(picture))
        return picture

    def count() -> None:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in decoded))

    monkeypatch.setattr(Image, "open", open_file)
    monkeypatch.setattr(ImageSource, "open", open_source)
    editor: Any = Scripted()
    editor.watch = count
    evaluate(editor, samples)
    assert len(files) >= 8 * 6
    assert all(file.fp is None for file in files)
    # A chunk of two samples holds four pictures each (the M-Loc picture is a near miss too), while the pictures of the
    # chunk before may still be named.
    assert 8 <= most <= 16
