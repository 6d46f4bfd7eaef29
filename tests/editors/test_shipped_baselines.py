"""The baselines that are shipped trained: each makes single edits."""

from __future__ import annotations

import pytest

from liveedit.backbones import Backbone, load_backbone
from liveedit.cli.measuring import DEFAULT_FOLDERS
from liveedit.cli.options import BACKBONE
from liveedit.configs import TRAINED
from liveedit.editors import EDITORS
from liveedit.evaluation.asking import apply_edits, edit_of, respond, score
from liveedit.evaluation.benchmarks import Benchmark, WorldSource


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BACKBONE, "cpu")


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return WorldSource().draw(12, 11, lambda *_: None)


@pytest.mark.parametrize("name", TRAINED)
def test_a_shipped_baseline_makes_single_edits(name: str, backbone: Backbone, benchmark: Benchmark) -> None:
    editor = EDITORS[name].from_pretrained(DEFAULT_FOLDERS[name], backbone)
    edited, unedited = [], []
    for sample in benchmark.samples:
        state = editor.empty()
        ids = apply_edits(editor, state, [edit_of(sample)])
        [after] = respond(editor, state, [sample], ids, 2, 8)
        [before] = respond(editor, None, [sample], ids, 2, 8)
        edited.append(score(sample, after, before).paper["rel"])
        unedited.append(score(sample, before, before).paper["rel"])
    # Of 180 edits each had more than 0.9; twelve leave some room for chance.
    assert sum(edited) / len(edited) > 0.75
    assert sum(unedited) / len(unedited) < 0.25
