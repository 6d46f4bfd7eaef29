"""Editors compared on a person's edits: which can be used, what each holds, and that one that fails says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from PIL.Image import Image

from liveedit.backbones import Backbone
from liveedit.editors import EDITORS, LiveEdit, Unedited
from liveedit.evaluation.probing import HOLDS, questions_about
from liveedit.types import Edit, EditorError
from liveedit.ui.trial import Tried, Usable, ready_names, trial_html, try_editors, usable_editors


class Untrained:
    """An editor that has to be trained first."""

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone) -> Any:
        raise EditorError("there is no trained editor given: train one first")


class Marked(Unedited):
    """Remembers from which folder it was loaded."""

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone) -> Any:
        made = cls(backbone)
        made.path = Path(path)  # type: ignore[attr-defined]
        return made


def test_editors_without_training_or_with_a_checkpoint_can_be_used(open_editor: LiveEdit, tmp_path: Path) -> None:
    (tmp_path / "baselines" / "marked").mkdir(parents=True)
    registry = {**EDITORS, "marked": Marked, "untrained": Untrained}
    usable = usable_editors(open_editor, tmp_path, ["liveedit", "unedited", "marked", "untrained"], registry)
    assert usable.editors["liveedit"] is open_editor
    assert "unedited" in usable.editors
    assert usable.editors["marked"].path == tmp_path / "baselines" / "marked"
    assert "untrained" not in usable.editors
    assert "train one first" in usable.reasons["untrained"]


def test_only_editors_that_can_be_used_are_chosen_at_first(open_editor: LiveEdit, tmp_path: Path) -> None:
    (tmp_path / "baselines" / "lte").mkdir(parents=True)
    ready = ready_names(open_editor.backbone, tmp_path)
    assert {"liveedit", "unedited", "ft-l", "lte"} <= set(ready)
    assert {"mend", "serac", "recipe"}.isdisjoint(ready)


def test_the_unedited_model_holds_no_edit_and_leaves_all_else_alone(
    open_editor: LiveEdit, some_edits: list[Edit], pictures: list[Image]
) -> None:
    edits = some_edits[:2]
    others = [("Other", pictures[7])]
    usable = Usable({"unedited": Unedited(open_editor.backbone), "liveedit": open_editor}, {"later": "train it first"})
    found = list(try_editors(usable, edits, others))
    assert [result.name for result in found] == ["unedited", "liveedit", "later"]
    asked = [group for edit in edits for group, _, _ in questions_about(edit, others)]
    for result in found[:2]:
        assert {g: result.total(g)[1] for g in dict.fromkeys(asked)} == {g: asked.count(g) for g in asked}
    for group in dict.fromkeys(asked):
        held, count = found[0].total(group)
        assert held == (0 if group in HOLDS else count)
    # The open editor lets every expert act everywhere, so it does change its neighbours.
    assert found[1].total("same picture")[0] < found[1].total("same picture")[1]
    assert found[2].reason == "train it first"


def test_no_editor_is_begun_when_the_time_is_up(open_editor: LiveEdit, some_edits: list[Edit]) -> None:
    usable = Usable({"unedited": Unedited(open_editor.backbone)})
    (result,) = try_editors(usable, some_edits[:1], seconds=-1.0)
    assert not result.edits
    assert "had passed" in result.reason


def test_when_no_editor_could_be_tried_the_reasons_are_shown(some_edits: list[Edit]) -> None:
    results = [Tried("mend", reason="there is no trained editor: train one"), Tried("serac", reason="<b>no</b>")]
    html = trial_html([("Edit 1", some_edits[0])], results)
    assert "None of the chosen editors could be tried" in html
    assert "There is no trained editor: train one." in html and "&lt;b&gt;no&lt;/b&gt;." in html
    begun = trial_html([("Edit 1", some_edits[0])], results[:1], done=False)
    assert "train one" in begun and "being tried" in begun and "None of" not in begun


def test_the_table_says_how_many_held_by_sign_and_number(some_edits: list[Edit], pictures: list[Image]) -> None:
    evil = Edit(pictures[0], "<b>What?</b>", "{{x}}")
    results = [
        Tried("liveedit", [{"picture": (1, 1), "rewording": (3, 4)}, {"picture": (1, 1), "rewording": (0, 4)}], 0.5),
        Tried("later", reason="there is no trained editor: train one"),
    ]
    html = trial_html([("Edit 1", evil), ("Edit 2", some_edits[1])], results, left_out=3)
    cells = re.findall(r'<td class="(\w+)"><span aria-hidden="true">(.)</span> ([^<]+)</td>', html)
    assert cells == [
        ("all", "✓", "2 of 2"), ("some", "◐", "3 of 8"),
        ("all", "✓", "1 of 1"), ("some", "◐", "3 of 4"),
        ("all", "✓", "1 of 1"), ("none", "✕", "0 of 4"),
    ]  # fmt: skip
    assert "3 older ones are not tried" in html
    assert "There is no trained editor: train one." in html
    assert "<b>What?" not in html
    assert "{{" not in html
