"""What is timed: answers of one length, edited and unedited, and generation as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from liveedit.backbones import Backbone
from liveedit.configs.ft import FineTuningConfig
from liveedit.data import ImageSource, Sample
from liveedit.editors import LiveEdit
from liveedit.editors.fine_tuning import FineTuneLanguage
from liveedit.editors.memory import MemoryEditor
from liveedit.evaluation.asking import edit_of
from liveedit.evaluation.cost import COST, PART_SECONDS, TIMED_TOKENS, measure_cost
from liveedit.types import Query


@pytest.mark.parametrize("name", ["liveedit", "ft-l", "serac", "lte", "recipe"])
def test_answers_of_one_length_are_timed(
    name: str,
    lively_backbone: Backbone,
    open_editor: LiveEdit,
    memory_editor: Callable[[str], MemoryEditor],
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    editor: Any = (
        open_editor
        if name == "liveedit"
        else FineTuneLanguage(lively_backbone, FineTuningConfig(iterations=2, learning_rate=1e-2))
        if name == "ft-l"
        else memory_editor(name)
    )
    source = ImageSource(pictures[0])
    samples = [Sample(source, source, "What is it?", "", "", answer, "", "", source, "", "") for answer in ("cat", "dog")]
    state, said = editor.empty(), list[int]()
    editor.edit(state, [edit_of(samples[0])])
    query = Query(pictures[0], "What is it?")
    before = editor.answer(state, query).text
    answer = type(editor).answer

    def counting(self: Any, *args: Any, **options: Any) -> Any:
        answered = answer(self, *args, **options)
        said.append(len(answered.tokens))
        return answered

    monkeypatch.setattr(type(editor), "answer", counting)
    cost = measure_cost(editor, state, samples, lambda _: None)
    assert set(cost) == {*COST, *PART_SECONDS}
    # Both models warm up, and answer both samples: whole answers, each followed by its prefill alone.
    assert said == [TIMED_TOKENS, 1] * 6
    for model in ("edited", "unedited"):
        assert cost[f"seconds_per_prefill_{model}"] > 0
        assert 0 <= cost[f"seconds_per_decode_{model}"] < cost[f"seconds_per_answer_{model}"]
    assert editor.answer(state, query).text == before
