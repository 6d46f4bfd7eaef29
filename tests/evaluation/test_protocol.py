"""The lifelong protocol on a tiny random model: the schema, what must hold, and worked numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from liveedit.data import ImageSource, Sample, read_evqa
from liveedit.editors import LiveEdit, Unedited
from liveedit.editors.base import Prediction
from liveedit.evaluation import evaluate, protocol, to_markdown, write_report
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, ExpertTrace, InputError, RoutingTrace
from liveedit.world.benchmark import write_benchmark


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("benchmark")
    return read_evqa(write_benchmark(folder, 3, 0, "eval"), folder)


@pytest.fixture(scope="module")
def result(tiny_editor: LiveEdit, samples: list[Sample]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "MAX_NEW_TOKENS", 3)
        patch.setattr(protocol, "CHUNK", 2)
        calls: list[tuple[int, int, str]] = []
        found = evaluate(tiny_editor, samples, 0, lambda *call: calls.append(call))
    assert [c[0] for c in calls] == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    assert {c[1] for c in calls} == {12}
    return found


def test_the_schema(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result)) == result
    assert set(result) == {
        "format", "edits", "seed", "backbone", "edited", "unedited", "interval", "routing", "cost", "notes",
    }  # fmt: skip
    for model in ("edited", "unedited"):
        assert set(result[model]["paper"]) == {"rel", "t_gen", "m_gen", "t_loc", "m_loc", "average"}
        assert set(result[model]["generation"]) == {"rel", "t_gen", "m_gen", "m_loc_same"}
        assert set(result[model]["generation"]["rel"]) == {"exact", "contains", "f1"}
        assert set(result[model]["hard_locality"]) == {"same_picture", "near_miss", "all", "probes"}
        assert result[model]["hard_locality"]["probes"] == 6
    assert set(result["routing"]["recall"]) == {"rel", "t_gen", "m_gen", "all"}
    assert result["edits"] == result["cost"]["timed"] == 3


def test_what_holds_by_construction(result: dict[str, Any], tiny_editor: LiveEdit) -> None:
    assert result["edited"]["paper"]["t_loc"] == 100.0
    assert "by construction" in result["notes"]["t_loc"]
    assert result["unedited"]["paper"]["m_loc"] == result["unedited"]["hard_locality"]["all"] == 100.0
    for model in ("edited", "unedited"):
        paper = result[model]["paper"]
        five = [paper[name] for name in ("rel", "t_gen", "m_gen", "t_loc", "m_loc")]
        assert paper["average"] == pytest.approx(sum(five) / 5, abs=0.01)
    low, high = result["interval"]["average"]
    assert low <= result["edited"]["paper"]["average"] <= high
    c = tiny_editor.config
    numbers = 2 * c.rank * c.hidden_size + 2 * c.queries * c.module_dim
    assert result["cost"]["repository_bytes"] == 3 * 4 * numbers
    # Of decoding, which is a difference, a busy machine may leave nothing.
    assert all(value > 0 or "decode" in name for name, value in result["cost"].items())


def test_the_report_as_tables_and_files(result: dict[str, Any], tmp_path: Path) -> None:
    text = to_markdown(result)
    assert "3 edits, seed 0" in text
    assert "unedited" in text
    assert "100 by construction" in text
    assert json.loads(write_report(result, tmp_path / "new" / "r.json").read_text()) == result
    assert write_report(result, tmp_path / "r.md").read_text().startswith("3 edits")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(result, tmp_path / "r.md" / "below.json")


def test_nothing_to_evaluate_is_refused(tiny_editor: LiveEdit, samples: list[Sample]) -> None:
    with pytest.raises(InputError, match="no samples"):
        evaluate(tiny_editor, [])
    with pytest.raises(InputError, match="seed"):
        evaluate(tiny_editor, samples, -1)


class Scripted:
    """An editor that answers from a script: edited it says the target, half of it for a rephrased prompt."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.backbone = type("Backbone", (), {"fingerprint": "scripted"})()

    def empty(self) -> ExpertRepository:
        return ExpertRepository.empty(self.config)

    def edit(self, repository: Any, edits: Any, *, template: bool) -> list[str]:
        assert not template
        return [e.target for e in edits]

    def predict(self, repository: Any, queries: Any, targets: Any, *, template: bool) -> list[Prediction]:
        assert not template
        right = {"src": (1, 2), "again": (1, 0)} if repository is not None else {}
        return [Prediction((1, 2), right.get(q.prompt, (5, 5))) for q in queries]

    def answer(self, repository: Any, query: Any, *, max_new_tokens: int, template: bool) -> Any:
        assert not template
        if not isinstance(query, list):
            return Answer("", ())
        if repository is None:
            return [Answer("old", ()) for _ in query]
        said = {"src": "new words", "again": "the new"}
        own = ExpertTrace("new words", True, 1, 0, 1, True, 0, 0, 0, 0.9)
        other = ExpertTrace("other", True, 1, 0, 1, True, 0, 0, 0, 0.1)
        traces = {"src": RoutingTrace((own,), routed=True), "again": RoutingTrace((own, other), routed=True)}
        return [Answer(said.get(q.prompt, "old"), (), traces.get(q.prompt, RoutingTrace())) for q in query]


def test_numbers_of_a_scripted_editor(tiny_editor: LiveEdit) -> None:
    picture = ImageSource(Image.new("RGB", (4, 4)))
    sample = Sample(picture, picture, "src", "again", "old", "new words", "loc", "x", picture, "q", "a")
    editor: Any = Scripted(tiny_editor.config)
    result = evaluate(editor, [sample, sample])
    assert result["edited"]["paper"] == {
        "rel": 100.0, "t_gen": 50.0, "m_gen": 100.0, "t_loc": 100.0, "m_loc": 100.0, "average": 90.0,
    }  # fmt: skip
    assert result["unedited"]["paper"]["average"] == 40.0
    written = result["edited"]["generation"]
    assert written["rel"] == {"exact": 100.0, "contains": 100.0, "f1": 100.0}
    assert written["t_gen"] == {"exact": 0.0, "contains": 0.0, "f1": 50.0}
    assert written["m_loc_same"] == 100.0
    assert result["edited"]["hard_locality"] == {
        "same_picture": None,
        "near_miss": None,
        "all": None,
        "probes": 0,
    }
    routing = result["routing"]
    assert routing["recall"]["all"] == 100.0
    assert routing["precision"] == {"rel": 100.0, "t_gen": 50.0, "m_gen": 100.0, "all": 83.33}
    assert routing["passed_mean"]["t_gen"] == 2.0
    assert routing["m_loc_nothing_passed"] == 100.0
    assert result["interval"]["average"] == [90.0, 90.0]
    assert "–" in to_markdown(result)


def test_an_editor_that_does_not_route_gets_no_word_on_routing(tiny_editor: LiveEdit, samples: list[Sample]) -> None:
    result = evaluate(Unedited(tiny_editor.backbone), samples[:1])
    assert "routing" not in result
    # That questions without a picture stay as they were is LiveEdit's construction, not everybody's.
    assert not {"routing", "t_loc"} & set(result["notes"])
    assert "Routing" not in to_markdown(result)
