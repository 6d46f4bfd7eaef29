"""The loop alone, on a learner of one number: schedule, numbering, resume, validation, and refusal of losses that run away."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from liveedit.training import loop, records
from liveedit.training.loop import Learner, Pace, Validation, run_stage
from liveedit.training.optim import cosine
from liveedit.training.records import CURVE, STATE, Curve, load_state, read_curve
from liveedit.types import ConfigError, DataError

PACE = Pace(steps=7, warmup=2, final_rate=0.1, log_every=3, save_every=2, accumulation=2)


class Toy(Learner):
    """Pulls a number towards the batches; ``bad`` gives another loss to some batch, ``stuck`` a bad gradient."""

    def __init__(self, bad: dict[int, float] | None = None, stuck: int = -1) -> None:
        self.weight, self.gradient, self.bad, self.stuck = 8.0, 0.0, bad or {}, stuck
        self.calls: list[tuple[float, int, bool]] = []
        self.factors: list[float] = []

    def learn(self, batch: float, number: int, last: bool) -> dict[str, float]:
        self.calls.append((batch, number, last))
        self.gradient += self.weight - batch
        return {"loss": self.bad.get(number, (self.weight - batch) ** 2), "batch": batch}

    def update(self, factor: float) -> bool:
        if len(self.factors) == self.stuck:
            return False
        self.factors.append(factor)
        self.weight -= 0.1 * factor * self.gradient
        self.gradient = 0.0
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


def batches(first: int) -> Any:
    return (math.sin(number) for number in range(first, 100))


def lines(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_curve(run / CURVE)]


def test_batches_are_numbered_and_the_rate_follows_the_schedule(tmp_path: Path) -> None:
    toy = Toy()
    run_stage("toy", toy, batches, PACE, tmp_path, {})
    assert toy.calls == [(math.sin(n), n, n % 2 == 1) for n in range(14)]
    assert toy.factors == [cosine(step, 7, 2, 0.1) for step in range(7)]
    assert toy.factors[:2] == [0.5, 1.0]
    rows = lines(tmp_path)
    assert [row["step"] for row in rows] == [2, 5, 6]
    assert rows[1]["batch"] == round(sum(math.sin(n) for n in range(6, 12)) / 6, 4)
    assert load_state(tmp_path / STATE)["step"] == 7


def test_the_rate_is_constant_and_then_a_tenth(tmp_path: Path) -> None:
    toy = Toy()
    run_stage("toy", toy, batches, Pace(6, 0, 1.0, 100, 100, drop_after=4), tmp_path, {})
    assert toy.factors == [1.0] * 4 + [0.1] * 2


@pytest.mark.parametrize("drop_after", [0, 5])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_stage_repeats_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, drop_after: int
) -> None:
    straight, pace = Toy(), replace(PACE, drop_after=drop_after)
    (tmp_path / "a").mkdir()
    run_stage("toy", straight, batches, pace, tmp_path / "a", {})
    real, saves = loop.save_state, []

    def interrupted(path: Path, payload: dict[str, Any]) -> None:
        real(path, payload)
        saves.append(path)
        if len(saves) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", interrupted)
    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run_stage("toy", Toy(), batches, pace, tmp_path / "b", {})
    resumed = Toy()
    run_stage("toy", resumed, batches, pace, tmp_path / "b", load_state(tmp_path / "b" / STATE))
    assert resumed.weight == straight.weight
    assert resumed.calls[0][1] == 4 * stop
    # The window of the curve's next line spans the interruption.
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_with_the_step_named_and_the_checkpoint_kept(
    tmp_path: Path, value: float
) -> None:
    toy = Toy(bad={9: value})
    with pytest.raises(ConfigError, match=r"loss is not finite at step 4 of stage toy \(the checkpoint of step 4 is"):
        run_stage("toy", toy, batches, PACE, tmp_path, {})
    assert len(toy.factors) == 4, "the bad batch must not reach the weights"
    assert load_state(tmp_path / STATE)["weight"] == toy.weight


def test_a_gradient_that_is_not_finite_stops_before_anything_is_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gradient is not finite at step 1 of stage toy"):
        run_stage("toy", Toy(stuck=1), batches, PACE, tmp_path, {})
    assert not (tmp_path / STATE).exists()


def watched(tmp_path: Path, losses: list[float], patience: int, steps: int = 7) -> tuple[list[tuple[int, float]], Toy]:
    """A stage with a validation every step that gives these losses; what was kept, and the learner."""
    kept: list[tuple[int, float]] = []
    supply, toy = iter(losses), Toy()
    validation = Validation(lambda: {"loss": next(supply)}, 1, lambda step, loss: kept.append((step, loss)), patience)
    run_stage("toy", toy, batches, Pace(steps, 0, 1.0, 100, 100), tmp_path, {}, validation)
    return kept, toy


def test_the_lowest_validation_loss_is_kept_and_patience_ends_the_stage(tmp_path: Path) -> None:
    kept, toy = watched(tmp_path, [3.0, 2.0, 2.5, 2.0, 1.0], patience=2)
    assert kept == [(1, 3.0), (2, 2.0)]
    assert len(toy.factors) == 4
    assert [row["held_out_loss"] for row in lines(tmp_path)] == [3.0, 2.0, 2.5, 2.0]
    state = load_state(tmp_path / STATE)
    assert state["step"] == 4
    # What was stopped stays so when it is resumed.
    run_stage("toy", toy, batches, Pace(7, 0, 1.0, 100, 100), tmp_path, state)
    assert len(toy.factors) == 4


def test_without_patience_a_stage_runs_to_its_end(tmp_path: Path) -> None:
    kept, toy = watched(tmp_path, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5], patience=0)
    assert kept == [(1, 1.0), (7, 0.5)] and len(toy.factors) == 7


def test_a_validation_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation loss is not finite at step 1 of stage toy"):
        watched(tmp_path, [1.0, math.nan], patience=0)


def test_a_line_cut_short_by_an_interruption_is_dropped_and_other_damage_refused(tmp_path: Path) -> None:
    path = tmp_path / CURVE
    rows = [json.dumps({"stage": "toy", "step": step, "loss": 1.0}) for step in range(3)]
    path.write_text("\n".join(rows) + '\n{"stage": "to')
    Curve(tmp_path, "toy", 2).add(2, 0.0, loss=0.5)
    assert [(row["step"], row["loss"]) for row in read_curve(path)] == [(0, 1.0), (1, 1.0), (2, 0.5)]
    path.write_text("\n".join([rows[0], "{", rows[2]]))
    with pytest.raises(DataError, match="line 2 of the curve"):
        read_curve(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_state(tmp_path / STATE)
    assert "\n" not in str(caught.value)


def test_tensorboard_without_its_package_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        records.check_tensorboard()


def test_tensorboard_gets_the_figures_of_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Writer:
        made: list[Writer] = []  # noqa: RUF012

        def __init__(self, folder: str, purge_step: int) -> None:
            self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False
            Writer.made.append(self)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.scalars.append((name, value, step))

        def close(self) -> None:
            self.closed = True

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(records, "find_spec", lambda name: object())
    run_stage("toy", Toy(), batches, PACE, tmp_path, {}, tensorboard=True)
    (writer,) = Writer.made
    assert writer.folder == str(tmp_path / "tensorboard" / "toy") and writer.purge_step == 0 and writer.closed
    wanted = [(k, row[k], row["step"]) for row in lines(tmp_path) for k in ("loss", "batch")]
    assert writer.scalars == wanted


def test_the_real_tensorboard_reads_the_figures_of_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def interrupted(path: Path, payload: dict[str, Any]) -> None:
        records.save_state(path, payload)
        if payload["step"] == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_stage("toy", Toy(), batches, PACE, tmp_path, {}, tensorboard=True)
    monkeypatch.undo()
    run_stage("toy", Toy(), batches, PACE, tmp_path, load_state(tmp_path / STATE), tensorboard=True)
    found = events.EventAccumulator(str(tmp_path / records.EVENTS / "toy"))
    found.Reload()
    rows = lines(tmp_path)
    assert found.Tags()["scalars"] == ["loss", "batch"] and [row["step"] for row in rows] == [2, 5, 6]
    for name in ("loss", "batch"):
        read = [(event.step, event.value) for event in found.Scalars(name)]
        assert read == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]
