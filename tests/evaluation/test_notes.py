"""What cannot be otherwise: of which editors T-Loc is 100 by construction, and of which it is measured."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from liveedit.backbones import Backbone
from liveedit.configs.ft import FineTuningConfig
from liveedit.configs.retrieval import RetrievalConfig
from liveedit.editors import LiveEdit
from liveedit.editors.fine_tuning import FineTuneLanguage, FineTuneModality
from liveedit.editors.retrieval import Retrieval
from liveedit.evaluation.notes import T_LOC, lifelong_notes, t_loc_note
from liveedit.types import Edit, Query

TEXTS = [Query(None, prompt) for prompt in ("What is it?", "Name a colour.", "Who?", "Where is the cat?")]


@pytest.mark.parametrize("name", ["liveedit", "retrieval", "ft-m", "ft-l"])
def test_t_loc_is_100_by_construction_where_the_notes_say_so(
    name: str, lively_backbone: Backbone, open_editor: LiveEdit, pictures: list[Image.Image]
) -> None:
    strong = FineTuningConfig(iterations=20, learning_rate=1e-1)
    makers: dict[str, Any] = {
        "liveedit": lambda: open_editor,
        "retrieval": lambda: Retrieval(lively_backbone, RetrievalConfig(layer=1)),
        "ft-m": lambda: FineTuneModality(lively_backbone, strong),
        "ft-l": lambda: FineTuneLanguage(lively_backbone, strong),
    }
    editor = makers[name]()
    state = editor.empty()
    editor.edit(state, [Edit(pictures[0], "What is it?", "a blue boat")], template=False)
    targets = ["a blue boat"] * len(TEXTS)
    after, before = (editor.predict(model, TEXTS, targets, template=False) for model in (state, None))
    same = [new.predicted for new in after] == [old.predicted for old in before]
    note = t_loc_note(editor)
    assert same == (note is not None)
    assert note == T_LOC.get(name)


def test_notes_are_on_what_a_result_holds() -> None:
    routed = [{"edited": {"rel": {}, "false.passed": {}, "port.exact": {}}}]
    assert list(lifelong_notes("liveedit", routed)) == ["t_loc", "locality", "intervals", "false", "cost", "port"]
    assert list(lifelong_notes("ft-l", [{"edited": {"rel": {}}}])) == ["locality", "intervals", "cost"]
    assert "bridge from vision to language" in lifelong_notes("ft-m", [])["t_loc"]
