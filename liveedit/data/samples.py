"""The one sample type of every benchmark in the E-VQA format (MMEdit, https://arxiv.org/abs/2310.08475).

Field names are the benchmark's own: ``src`` is the edit's prompt, ``alt`` its new answer, ``pred`` what the
model said before; ``loc`` and ``m_loc`` are unrelated questions, without and with a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image, UnidentifiedImageError

from liveedit.types import DataError, InputError

HARD_KINDS = ("same_picture", "near_miss")


@dataclass(frozen=True)
class ImageSource:
    """A picture that is opened when it is needed: a file, a function that draws it, or a picture in memory."""

    source: Path | Callable[[], Image.Image] | Image.Image

    def open(self) -> Image.Image:
        """The picture in RGB, read or drawn anew each time, so that a large benchmark fits in memory."""
        if isinstance(self.source, Image.Image):
            return self.source.convert("RGB")
        if not isinstance(self.source, Path):
            return self.source().convert("RGB")
        try:
            with Image.open(self.source) as picture:
                return picture.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            raise DataError(
                f"the picture {self.source} cannot be read ({error}): restore it from the dataset"
            ) from error


@dataclass(frozen=True)
class HardProbe:
    """A question whose answer the edit must leave alone although much of it looks like the edit.

    ``kind`` is "same_picture" (the edit's picture, another question) or "near_miss" (the edit's question, another
    picture, a look-alike where there is one); ``answer`` is the truth, empty where it is not known.
    """

    kind: str
    image: ImageSource
    question: str
    answer: str = ""

    def __post_init__(self) -> None:
        if self.kind not in HARD_KINDS:
            raise DataError(f"a hard locality probe is of kind {self.kind!r}: use {' or '.join(HARD_KINDS)}")


@dataclass(frozen=True)
class PortabilityProbe:
    """A question on the edit's picture whose answer follows from the edit in ``hops`` steps (VLKEB, arXiv 2403.07350).

    ``premise`` is the prompt and answer of a second edit that the answer needs besides.
    """

    hops: int
    question: str
    answer: str
    premise: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= 4:
            raise DataError(f"a portability question is {self.hops} hops away: use 1 to 4")


@dataclass(frozen=True)
class Sample:
    """One edit with its tests. Prompts are ready to be asked without a chat template."""

    image: ImageSource
    image_rephrase: ImageSource
    src: str
    rephrase: str
    pred: str
    alt: str
    loc: str
    loc_ans: str
    m_loc: ImageSource
    m_loc_q: str
    m_loc_a: str
    hard: tuple[HardProbe, ...] = ()
    portability: tuple[PortabilityProbe, ...] = ()


class Limits(Protocol):
    """What refuses a prompt or an answer that is too long with :class:`InputError`: a backbone does."""

    def check_prompt(self, prompt: str) -> None: ...

    def check_answer(self, target: str) -> None: ...


def fitting(samples: Iterable[Sample], limits: Limits) -> list[Sample]:
    """The samples that the backbone accepts; some captions are longer than a new answer may be."""
    return [sample for sample in samples if _fits(sample, limits)]


def _fits(sample: Sample, limits: Limits) -> bool:
    """Whether none of a sample's questions and new answers is refused."""
    premises = [probe.premise for probe in sample.portability if probe.premise is not None]
    prompts = [sample.src, sample.rephrase, sample.m_loc_q]
    prompts += [probe.question for probe in sample.hard] + [probe.question for probe in sample.portability]
    prompts += [prompt for prompt, _ in premises]
    try:
        for prompt in prompts:
            limits.check_prompt(prompt)
        for answer in (sample.alt, *(answer for _, answer in premises)):
            limits.check_answer(answer)
    except InputError:
        return False
    return True
