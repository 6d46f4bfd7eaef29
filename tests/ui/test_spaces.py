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

import gradio as gr
import pytest
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.evaluation.probing import probe
from liveedit.experts import ExpertRepository
from liveedit.types import Edit, InputError, Query
from liveedit.ui import edits_panel, spaces
from liveedit.ui import session as actions
from liveedit.ui.heatmap_panel import lent_maps, wanted
from liveedit.ui.page import build_page
from liveedit.ui.probe_panel import probed
from liveedit.ui.session import Session
from liveedit.ui.wiring import told

UI = Path(spaces.__file__).parent


def crossed(value: Any) -> Any:
    """What arrives in another process."""
    return pickle.loads(pickle.dumps(value))


def as_raised(error: Exception) -> gr.Error:
    """The error that the package raises for one in its worker: Gradio's own alone survive, of others it tells the class."""
    if isinstance(error, gr.Error):
        return crossed(error)
    return gr.Error(type(error).__name__, title="ZeroGPU worker error", print_exception=False)


class Lending(ModuleType):
    """Sends arguments, results and errors there and back as the package does, and notes what was asked for."""

    def __init__(self) -> None:
        super().__init__("spaces")
        self.durations: list[int] = []
        self.calls: list[tuple[Any, ...]] = []

    def GPU(self, duration: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        self.durations.append(duration)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            def send(*args: Any) -> Any:
                self.calls.append(args)
                try:
                    return crossed(function(*crossed(args)))
                except Exception as error:
                    raise as_raised(error) from None

            def stream(*args: Any) -> Iterator[Any]:
                self.calls.append(args)
                values = function(*crossed(args))
                while True:
                    try:
                        value = crossed(next(values))
                    except StopIteration:
                        return
                    except Exception as error:
                        raise as_raised(error) from None
                    yield value

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


def test_an_edit_is_tried_out_where_the_gpu_is_lent(
    lending: Lending, open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]
) -> None:
    first, others = open_repository.experts[0].id, [("Another", pictures[7])]
    there = spaces.on_gpu("edit")(probed)(open_editor, open_repository, first, others)
    assert there == probe(open_editor, open_repository, first, others)
    assert {outcome.group for outcome in there} > {"picture", "same question"}


def test_a_refusal_arrives_as_it_was_made(lending: Lending, open_editor: LiveEdit, pictures: list[Image]) -> None:
    """The package lets no error through but Gradio's own; what a person can act on is told all the same."""
    start = Session(open_editor.empty())
    with pytest.raises(InputError, match=r"^an edit needs a picture: upload one or choose an example$"):
        spaces.on_gpu("edit")(actions.apply_edit)(open_editor, start, "What is it?", "teapot")
    start.picture = pictures[0]
    with pytest.raises(InputError, match="question is empty"):
        next(spaces.on_gpu("ask")(actions.ask)(open_editor, start, " "))
    begun = spaces.on_gpu("ask")(refusing_late)(open_editor)
    assert next(begun) == "begun", "what came before the refusal is shown"
    with pytest.raises(InputError, match="too late"):
        list(begun)


def refusing_late(editor: object) -> Iterator[str]:
    """A stream that refuses when it has begun."""
    yield "begun"
    raise InputError("it is too late: ask again")


def broken(editor: object) -> None:
    """An action with a fault of ours."""
    raise KeyError("of a table of ours")


def without_quota(editor: object) -> None:
    """What the package raises itself when it has no GPU for this visitor."""
    raise gr.Error("Try again in 0:10:00", title="ZeroGPU quota exceeded", print_exception=False)


@pytest.mark.parametrize(
    ("action", "said"), [(broken, "^.?Something unexpected went wrong"), (without_quota, "^.?Try again in 0:10:00")]
)
def test_of_other_errors_a_person_reads_what_is_meant_for_one(
    lending: Lending, action: Callable[[object], None], said: str
) -> None:
    with pytest.raises(gr.Error, match=said):
        told(spaces.on_gpu("ask")(action))(object())


def test_who_stops_listening_stops_the_action(lending: Lending) -> None:
    ended = []

    def endless(editor: object) -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            ended.append(True)

    steps = spaces.on_gpu("ask")(endless)(object())
    assert next(steps) == 0 and not ended
    steps.close()
    assert ended


@pytest.mark.parametrize("action", ["switch", "remove"])
def test_a_change_of_the_list_leaves_what_was_typed(
    lending: Lending, open_editor: LiveEdit, busy_session: Session, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The session that comes back holds a copy of the picture, which is no reason to fill the boxes anew."""
    monkeypatch.setitem(edits_panel.CHANGES, action, spaces.on_gpu("ask")(edits_panel.CHANGES[action]))
    shown = clicked(open_editor, busy_session, action, busy_session.repository.experts[0].id)
    assert "edits" in shown
    assert not {"picture", "question", "edit-prompt"} & set(shown)


def test_undoing_that_a_session_was_opened_fills_the_boxes(
    lending: Lending, open_editor: LiveEdit, busy_session: Session, wordy_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(edits_panel.CHANGES, "undo", spaces.on_gpu("ask")(actions.undo))
    opened = wordy_session.copy()
    opened.earlier = busy_session.before("a session opened", whole=True)
    shown = clicked(open_editor, opened, "undo", "")
    assert shown["picture"] == busy_session.picture
    assert (shown["question"], shown["edit-prompt"]) == ("What is it?", "What is it?")


def clicked(editor: LiveEdit, session: Session, action: str, item: str) -> dict[str, Any]:
    """What the page shows after a click in the list of edits, by the ids of its elements."""
    page = build_page(editor)
    on_edits = next(event.fn for event in page.fns.values() if event.name == "on_edits")
    found = on_edits(session, gr.EventData(None, {"action": action, "item": item}))
    return {component.elem_id: value for component, value in found.items()}


def lent_names(trees: dict[str, ast.Module]) -> set[str]:
    """The actions with ``@on_gpu``."""
    return {
        node.name
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d).startswith("on_gpu(") for d in node.decorator_list)
    }


def test_events_run_the_model_where_a_gpu_is_lent() -> None:
    """From what builds the page, inner functions included: each call that is given the editor ends in an action with
    ``@on_gpu``, or is one that runs no model."""
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(UI.glob("*.py"))}
    lent = lent_names(trees)
    functions = {
        (module, node.name): node
        for module, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    # Neither the reading of a file of edits nor the value that the panels share; of a change of the list see below; and
    # heatmaps are found beside the page only where there is no package.
    free = {"editor.empty", "editor.load_state", "Wiring", "change"}
    beside = {("_found_maps", "attribute")}
    reached, visited = set(), set()

    def is_editor(node: ast.expr) -> bool:
        return ast.unparse(node) in ("editor", "current", "wiring.editor")

    def visit(module: str, function: ast.FunctionDef) -> None:
        if (module, function.name) in visited:
            return
        visited.add((module, function.name))
        for call in ast.walk(function):
            if not isinstance(call, ast.Call):
                continue
            given = any(is_editor(a) for a in [*call.args, *(k.value for k in call.keywords)])
            if not given and not (isinstance(call.func, ast.Attribute) and is_editor(call.func.value)):
                continue
            called = ast.unparse(call.func)
            name = called.removeprefix("actions.")
            if name in lent:
                reached.add(name)
            elif called.removeprefix("wiring.") not in free and (function.name, name) not in beside:
                inner = [key for key in functions if key[1] == name]
                inner = [key for key in inner if key[0] == module] or inner
                assert inner, f"{module}.py: {function.name} calls {called} with the model, which needs @on_gpu"
                for key in inner:
                    visit(key[0], functions[key])

    for (module, name), function in functions.items():
        if name in ("launch", "build_page") or any(a.arg == "wiring" for a in function.args.args):
            visit(module, function)
    assert {change.__name__ for change in edits_panel.CHANGES.values()} <= lent
    assert {"ask", "apply_edit", "extended", "lent_maps", "probed", "_answered"} <= reached


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
