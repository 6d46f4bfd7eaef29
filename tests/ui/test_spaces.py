"""Borrowed GPUs, with a pretended package ``spaces`` that runs every call in a process of its own."""

from __future__ import annotations

import ast
import pickle
import sys
from collections.abc import Callable, Iterator
from inspect import isgeneratorfunction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Edit, Query
from liveedit.ui import session as actions
from liveedit.ui import spaces
from liveedit.ui.heatmap_panel import lent_maps, wanted
from liveedit.ui.session import Session


class Lending(ModuleType):
    """Sends arguments and results through pickle, as the package does, and notes what was asked for."""

    def __init__(self) -> None:
        super().__init__("spaces")
        self.durations: list[int] = []
        self.calls: list[tuple[Any, ...]] = []

    def GPU(self, duration: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        self.durations.append(duration)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            def send(*args: Any) -> Any:
                self.calls.append(args)
                return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(args)))))

            def stream(*args: Any) -> Iterator[Any]:
                self.calls.append(args)
                for value in function(*pickle.loads(pickle.dumps(args))):
                    yield pickle.loads(pickle.dumps(value))

            return stream if isgeneratorfunction(function) else send

        return decorate


@pytest.fixture
def lending(monkeypatch: pytest.MonkeyPatch) -> Lending:
    package = Lending()
    monkeypatch.setitem(sys.modules, "spaces", package)
    monkeypatch.setattr(spaces, "package", lambda: package)
    return package


def test_without_the_package_an_action_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "package", lambda: None)

    def action(editor: object) -> object:
        return editor

    assert spaces.on_gpu("ask")(action) is action


def test_a_session_crosses_and_the_editor_stays(lending: Lending, open_editor: LiveEdit, pictures: list[Image]) -> None:
    apply_edit = spaces.on_gpu("edit")(actions.apply_edit)
    ask = spaces.on_gpu("ask")(actions.ask)
    assert lending.durations == [spaces.SECONDS["edit"], spaces.SECONDS["ask"]]
    start = Session(open_editor.empty())
    start.picture = pictures[0]
    edited = apply_edit(open_editor, start, "What is it?", "teapot")
    assert len(start.repository) == 0, "what the person had is untouched"
    assert [e.edit.target for e in edited.repository] == ["teapot"]
    steps = list(ask(open_editor, edited, "What is it?"))
    assert steps[-1].asked.edited.tokens == open_editor.answer(edited.repository, Query(pictures[0], "What is it?")).tokens
    assert len(steps) > 1, "the answer streams"
    for args in lending.calls:
        assert not any(isinstance(a, LiveEdit) for a in args)
        assert len(pickle.dumps(args)) < 1_000_000, "no model crosses"


def test_heatmaps_are_found_where_the_gpu_is_lent(
    lending: Lending, open_editor: LiveEdit, busy_session: Session
) -> None:
    instances = list(wanted(busy_session, "feature", "tokens").values())
    there = spaces.on_gpu("heatmaps")(lent_maps)(open_editor, instances, "tokens", "feature")
    here = lent_maps(open_editor, instances, "tokens", "feature")
    assert len(there) == len(instances) > 1
    assert all((a.heatmap == b.heatmap).all() for a, b in zip(there, here, strict=True))


def test_every_action_that_takes_the_editor_is_lent_a_gpu() -> None:
    # What builds the page, what actions use inside, and what is made of such actions.
    exempt = {"build_page", "launch", "given_edits", "usable_editors", "again", "apply_many", "take_step"}
    for path in sorted(Path(spaces.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or not node.args.args or node.name in exempt:
                continue
            first, helper = node.args.args[0], node.name.startswith("_")
            if first.annotation is not None and ast.unparse(first.annotation) == "LiveEdit" and not helper:
                lent = [ast.unparse(d) for d in node.decorator_list if ast.unparse(d).startswith("on_gpu(")]
                assert lent, f"{path.name}: {node.name} uses the model, so it needs @on_gpu"


def test_a_repository_crosses_without_its_stacks(open_editor: LiveEdit, some_edits: list[Edit]) -> None:
    repository = ExpertRepository.empty(open_editor.config)
    open_editor.edit(repository, some_edits[:2])
    bare = len(pickle.dumps(repository))
    wanted = repository.stacked("U")
    assert len(pickle.dumps(repository)) == bare
    again = pickle.loads(pickle.dumps(repository))
    assert (again.stacked("U") == wanted).all()
    features = open_editor.query_features([Query(some_edits[0].image, "What is it?")])[0]
    assert {t.device.type for t in (features.visual, features.threshold, features.prompt)} == {"cpu"}
