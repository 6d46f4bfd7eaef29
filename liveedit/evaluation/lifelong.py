"""The lifelong protocol: N sequential edits for several N and seeds, resumable, for any editor.

Everything measured lies in one folder: ``settings.json`` (what was asked for; another evaluation is refused),
``unedited/`` (the floor's answers), ``runs/`` (one file per run, rewritten as its samples are tested), ``states/``
(edits of a run in progress) and, when all is done, ``lifelong.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from liveedit.data import Sample
from liveedit.editors import Editor
from liveedit.evaluation.asking import (
    EDITED_QUERIES,
    Response,
    Scores,
    apply_edits,
    edit_of,
    forget_pictures,
    respond,
    score,
)
from liveedit.evaluation.benchmarks import Benchmark, Source
from liveedit.evaluation.cost import COST, measure_cost
from liveedit.evaluation.notes import lifelong_notes
from liveedit.evaluation.plan import LifelongOptions, Run, runs_of
from liveedit.evaluation.portability import ask_portability, portability_values, with_premises
from liveedit.evaluation.store import BLOCK, UneditedAnswers, claim_folder, read_json, write_json
from liveedit.evaluation.summary import summarise
from liveedit.types import InputError, LiveEditError

FORMAT = "liveedit-lifelong-1"
RESULT = "lifelong.json"
TEST = ("prompt", "target", "place", "answers", "edited", "unedited")  # what a run's file holds of each test
SAVE_SECONDS = 120.0  # applied edits that took longer than this are saved, and not applied again on resuming

Progress = Callable[[int, int, str], None]


def run_lifelong(
    editor: Editor[Any],
    source: Source,
    options: LifelongOptions,
    folder: str | Path,
    name: str = "liveedit",
    label: str = "",
    unedited: str | Path | None = None,
    progress: Progress | None = None,
    save_seconds: float = SAVE_SECONDS,
) -> dict[str, Any]:
    """Measure ``editor``; returns the result, which is also written to ``folder/lifelong.json``.

    ``name`` is the editor's in the registry, ``label`` its name in tables, ``unedited`` a folder of unedited
    answers to share with other evaluations of the same benchmark and backbone (default: inside ``folder``).
    ``progress`` is called with (done, total, label). Run again on the same folder it goes on where it was
    interrupted, with the same numbers (latency apart). The result's keys are explained in ``docs/metrics.md``.
    """
    folder = Path(folder)
    pool = options.pool_of(source.size)
    benchmark = {**source.settings(), "pool": pool}
    settings = {
        "format": FORMAT,
        "benchmark": benchmark,
        "backbone": editor.backbone.fingerprint,
        "editor": {"name": name, "fingerprint": editor.fingerprint},
        "options": options.settings(),
    }
    claim_folder(folder, settings, "an evaluation")
    floor = UneditedAnswers(
        Path(unedited) if unedited is not None else folder / "unedited",
        {
            "benchmark": benchmark,
            "backbone": editor.backbone.fingerprint,
            "max_new_tokens": options.max_new_tokens,
        },
    )
    session = _Session(editor, source, options, pool, folder, floor, progress or (lambda *_: None), save_seconds)
    runs = runs_of(options, pool)
    session.total = sum(session.steps(run) for run in runs)
    found = [session.finish(run) for run in runs]
    entries = summarise(runs, found)
    result = {**settings, "label": label or name, "runs": entries, "notes": lifelong_notes(name, entries)}
    write_json(folder / RESULT, result)
    return result


class _Session:
    """One call of :func:`run_lifelong`: what all its runs share."""

    def __init__(
        self,
        editor: Editor[Any],
        source: Source,
        options: LifelongOptions,
        pool: int,
        folder: Path,
        floor: UneditedAnswers,
        progress: Progress,
        save_seconds: float,
    ) -> None:
        self.editor, self.source, self.options, self.pool = editor, source, options, pool
        self.folder, self.floor, self.progress, self.save_seconds = folder, floor, progress, save_seconds
        self.done = self.total = 0
        self._drawn: tuple[int, Benchmark] | None = None

    def timed(self, run: Run) -> int:
        """How many samples of a run are timed: only a seed's first run of each N is."""
        return min(self.options.timed, run.tested) if run.chunk == 0 else 0

    def steps(self, run: Run) -> int:
        """Edits to apply, samples to test and calls to time."""
        return run.edits + run.tested + 2 * self.timed(run)

    def benchmark(self, seed: int) -> Benchmark:
        """The samples of a seed; only one seed's are in memory."""
        if self._drawn is None or self._drawn[0] != seed:
            self._drawn = None
            self._drawn = (seed, self.source.draw(self.pool, seed, self.progress))
        return self._drawn[1]

    def finish(self, run: Run) -> dict[str, Any]:
        """Do what is left of a run; returns its file's content."""
        path = self.folder / "runs" / f"{run.name}.json"
        content: dict[str, Any] = {"complete": False, "tests": [], "cost": None}
        if path.exists():
            content = read_json(path, *content)
            _check(path, content, run)
        if not content["complete"]:
            self._work(run, path, content)
        self.done += self.steps(run)
        self.progress(self.done, self.total, f"{run.edits} edits, seed {run.seed}")
        return content

    def _work(self, run: Run, path: Path, content: dict[str, Any]) -> None:
        """Apply a run's edits, test what is not tested yet, and write the file after every block."""
        benchmark, options = self.benchmark(run.seed), self.options
        order = run.order()
        tests: list[dict[str, Any]] = content["tests"]
        for test, sample in zip(tests, benchmark.samples[run.first :], strict=False):
            if (test.get("prompt"), test.get("target")) != (sample.src, sample.alt):
                raise InputError(f"{path} tests another benchmark's edits: choose another folder")
        begin = self.done
        state, ids = self._applied(run, benchmark, order)
        place_of = {sample: place for place, sample in enumerate(order)}
        edited_pictures = {benchmark.edited[run.first + i] for i in range(run.edits)}
        known = state
        if len(tests) < run.tested:
            # All that the run tests, whatever an interruption has left to test.
            known, _ = with_premises(self.editor, state, benchmark.samples[run.first : run.first + run.tested])
        for start in range(len(tests), run.tested, BLOCK):
            numbers = range(start, min(start + BLOCK, run.tested))
            samples = [benchmark.samples[run.first + i] for i in numbers]
            own = [ids[place_of[i]] for i in numbers]
            after = respond(self.editor, state, samples, own, options.max_new_tokens, options.batch_size)
            positions = [run.first + i for i in numbers]
            before = self.floor.responses(
                self.editor, benchmark, run.seed, positions, options.max_new_tokens, options.batch_size
            )
            carried = ask_portability(self.editor, known, samples, options.max_new_tokens, options.batch_size)
            carried_before = self.floor.portability(
                self.editor, benchmark, run.seed, positions, options.max_new_tokens, options.batch_size
            )
            for i, sample, new, old, port, port_before in zip(
                numbers, samples, after, before, carried, carried_before, strict=True
            ):
                concerned = benchmark.unrelated[run.first + i] in edited_pictures
                tests.append(
                    {
                        "prompt": sample.src,
                        "target": sample.alt,
                        "place": place_of[i],
                        "answers": new.texts,
                        "edited": {
                            **values_of(score(sample, new, old)),
                            **routing_of(new, concerned),
                            **portability_values(port),
                        },
                        "unedited": {**values_of(score(sample, old, old)), **port_before},
                        # The world's samples are drawn anew for each seed, a file's are the same for all.
                        **({} if self.source.size is None else {"sample": identity_of(sample)}),
                        **({"premises": sum(p.premise is not None for p in sample.portability)} if port else {}),
                    }
                )
            write_json(path, content)
            self.progress(begin + run.edits + len(tests), self.total, f"testing {run.name}")
        if self.timed(run) and content["cost"] is None:
            timed = benchmark.samples[run.first : run.first + self.timed(run)]
            at = begin + run.edits + run.tested
            content["cost"] = measure_cost(
                self.editor,
                state,
                timed,
                lambda done: self.progress(at + done, self.total, f"timing {run.name}"),
            )
        content["complete"] = True
        write_json(path, content)
        for file in (self.folder / "states").glob(f"{run.name}.*"):
            file.unlink()

    def _applied(self, run: Run, benchmark: Benchmark, order: Sequence[int]) -> tuple[Any, list[str]]:
        """A state with all of a run's edits, and their ids in the order of application."""
        states = self.folder / "states"
        index = states / f"{run.name}.json"
        state, ids = self.editor.empty(), list[str]()
        if index.exists():
            saved = read_json(index, "file", "ids")
            try:
                state, ids = self.editor.load_state(states / saved["file"]), list(saved["ids"])
            except LiveEditError as error:
                raise InputError(
                    f"the saved edits of {run.name} cannot be read: delete {states}, and they are applied again"
                ) from error
            forget_pictures(state)
        begin, last = self.done, perf_counter()
        while len(ids) < run.edits:
            part = [benchmark.samples[run.first + i] for i in order[len(ids) : len(ids) + BLOCK]]
            ids += apply_edits(self.editor, state, [edit_of(sample) for sample in part])
            self.progress(begin + len(ids), self.total, f"applying {run.name}")
            if perf_counter() - last > self.save_seconds:
                self._save(index, state, ids)
                last = perf_counter()
        return state, ids

    @staticmethod
    def _save(index: Path, state: Any, ids: list[str]) -> None:
        """Save a state under a name of its own, then point to it: at no moment is there only half of one."""
        index.parent.mkdir(parents=True, exist_ok=True)
        file = index.with_name(f"{index.stem}.{len(ids)}.state")
        state.save(file)
        write_json(index, {"file": file.name, "ids": ids})
        for old in index.parent.glob(f"{index.stem}.*.state"):
            if old != file:
                old.unlink()


def identity_of(sample: Sample) -> str:
    """What tells a file's sample from the others, wherever its pictures lie: a digest of all that it asks and answers."""
    texts = [sample.src, sample.rephrase, sample.alt, sample.loc, sample.loc_ans, sample.m_loc_q, sample.m_loc_a]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def values_of(scores: Scores) -> dict[str, float | None]:
    """A sample's scores by the names that results use."""
    values: dict[str, float | None] = {**scores.paper, "average": scores.average}
    for query, measures in scores.texts.items():
        values.update({f"{query}.{measure}": value for measure, value in measures.items()})
    values["m_loc.same"] = scores.m_loc_same
    for kind in ("same_picture", "near_miss"):
        values[f"hard.{kind}"] = _mean([same for k, same in scores.hard if k == kind])
    values["hard.all"] = _mean([same for _, same in scores.hard])
    return values


def routing_of(response: Response, concerned: bool) -> dict[str, float | None]:
    """What routing did with a sample, by the names that results use; nothing for an editor that does not route.

    ``concerned``: the unrelated question's picture shows what some edit was made on, so an expert may rightly pass.
    """
    if not response.routed:
        return {}
    values: dict[str, float | None] = {}
    for query in EDITED_QUERIES:
        own = response.own[query]
        values[f"recall.{query}"], values[f"precision.{query}"] = own.recall, own.precision
        values[f"passed.{query}"], values[f"heaviest.{query}"] = float(own.passed), own.heaviest
    for measure in ("recall", "precision", "passed", "heaviest"):
        values[f"{measure}.all"] = _mean([v for q in EDITED_QUERIES if (v := values[f"{measure}.{q}"]) is not None])
    some, count = float(response.m_loc_passed > 0), float(response.m_loc_passed)
    values["m_loc.some_passed"], values["m_loc.passed"] = some, count
    values["false.some_passed"], values["false.passed"] = (None, None) if concerned else (some, count)
    return values


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _check(path: Path, content: dict[str, Any], run: Run) -> None:
    """Refuse a run's file that does not hold what its run measures."""
    tests = content["tests"]
    whole = isinstance(tests, list) and all(isinstance(t, dict) and set(TEST) <= set(t) for t in tests)
    if whole and content["complete"]:
        cost = content["cost"]
        timed = run.chunk > 0 or (isinstance(cost, dict) and set(COST) <= set(cost))
        whole = timed and len(tests) == run.tested
    if not whole or len(tests) > run.tested:
        raise InputError(f"{path} is damaged: delete it, and what it held is measured again")
