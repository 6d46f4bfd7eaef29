"""Benchmarks as lists of samples in a seeded order, their pictures drawn or read when they are needed.

Every number of edits is taken from one list per seed, so that small and large runs meet the same mix of cases
(the world's later cases show more objects, since single glyphs run out) and test the same ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from liveedit.data import HardProbe, ImageSource, Sample, fitting
from liveedit.data.evqa import with_cue, with_question_mark
from liveedit.data.samples import Limits
from liveedit.world.benchmark import SIDE, benchmark_cases
from liveedit.world.cases import Case, content_of
from liveedit.world.scenes import Scene, render

STREAM = 3_000_009

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Benchmark:
    """Samples in the order in which edits are taken from them.

    ``edited`` and ``unrelated`` name what each sample's edit and its M-Loc question show: equal names mean the
    same content, so an edit on it concerns the picture.
    """

    samples: Sequence[Sample]
    edited: Sequence[str]
    unrelated: Sequence[str]


@dataclass(frozen=True)
class Drawing:
    """A scene's picture, drawn when called."""

    scene: Scene

    def __call__(self) -> Image.Image:
        return Image.fromarray(render(self.scene, SIDE))


def world_benchmark(count: int, seed: int, progress: Progress | None = None) -> Benchmark:
    """``count`` evaluation cases of the world, in an order drawn from the seed; no picture is kept in memory."""
    cases = []
    for number, case in enumerate(benchmark_cases(count, seed, "eval")):
        cases.append(case)
        if progress is not None:
            progress(number + 1, count, "drawing the benchmark")
    cases = [cases[i] for i in _order(count, seed)]
    return Benchmark(
        [world_sample(case) for case in cases],
        [str(case.content) for case in cases],
        [str(content_of(case.unrelated.scene)) for case in cases],
    )


def world_sample(case: Case) -> Sample:
    """A case of the world as the sample that the reader of its file would give."""

    def drawn(scene: Scene) -> ImageSource:
        return ImageSource(Drawing(scene))

    return Sample(
        image=drawn(case.scene),
        image_rephrase=drawn(case.redrawn),
        src=with_cue(case.prompt),
        rephrase=with_cue(case.rephrase),
        pred=case.truth.strip(),
        alt=case.target.strip(),
        loc=with_question_mark(case.text.prompt),
        loc_ans=case.text.answer.strip(),
        m_loc=drawn(case.unrelated.scene),
        m_loc_q=with_cue(case.unrelated.prompt),
        m_loc_a=case.unrelated.truth.strip(),
        hard=tuple(
            HardProbe(kind, drawn(probe.scene), with_cue(probe.prompt), probe.truth.strip())
            for kind, probe in (("same_picture", case.same_picture), ("near_miss", case.near_miss))
        ),
    )


@dataclass(frozen=True)
class WorldSource:
    """The emoji world's benchmark: every seed draws cases of its own, as many as fit into the world."""

    size: int | None = None
    too_long: int = 0

    def fitting(self, limits: Limits) -> WorldSource:
        """All of them: its questions and answers are short."""
        return self

    def settings(self) -> dict[str, Any]:
        """What decides its samples, besides the seed and their number."""
        return {"name": "world"}

    def draw(self, count: int, seed: int, progress: Progress | None = None) -> Benchmark:
        """``count`` samples of a seed."""
        return world_benchmark(count, seed, progress)


class FileSource:
    """The samples of a benchmark file; a seed decides which are taken, and in which order.

    ``too_long`` samples of the file are not among them, since the backbone does not accept them. ``shows`` names what
    a picture shows (:meth:`liveedit.data.Benchmark.shows`; without it, every file shows something of its own).
    """

    def __init__(
        self, name: str, samples: Sequence[Sample], too_long: int = 0, shows: Callable[[Path], str] = str
    ) -> None:
        self.name, self.samples, self.size = name, samples, len(samples)
        self.too_long, self.shows = too_long, shows

    def fitting(self, limits: Limits) -> FileSource:
        """Those that the backbone accepts: an edit that it refuses would stop an evaluation on its way."""
        samples = fitting(self.samples, limits)
        return FileSource(self.name, samples, self.size - len(samples), self.shows)

    def settings(self) -> dict[str, Any]:
        """Its name, its size, a digest of what its samples ask and answer, and how many were left out, if any."""
        digest = hashlib.sha256()
        for s in self.samples:
            texts = [s.src, s.rephrase, s.alt, s.loc, s.loc_ans, s.m_loc_q, s.m_loc_a]
            texts += [text for probe in s.hard for text in (probe.kind, probe.question)]
            digest.update(json.dumps(texts).encode())
        left_out = {"too_long": self.too_long} if self.too_long else {}
        return {"name": self.name, "samples": self.size, "digest": digest.hexdigest()[:16], **left_out}

    def draw(self, count: int, seed: int, progress: Progress | None = None) -> Benchmark:
        """``count`` of the samples, in the order of a seed."""
        chosen = [self.samples[i] for i in _order(self.size, seed)[:count]]
        return Benchmark(chosen, [self._content(s.image) for s in chosen], [self._content(s.m_loc) for s in chosen])

    def _content(self, picture: ImageSource) -> str:
        """What a picture shows; one that is in no file shows only itself."""
        return self.shows(picture.source) if isinstance(picture.source, Path) else str(picture.source)


Source = WorldSource | FileSource


def _order(count: int, seed: int) -> list[int]:
    return [int(i) for i in np.random.default_rng([seed, STREAM]).permutation(count)]
