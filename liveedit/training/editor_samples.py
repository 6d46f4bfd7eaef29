"""Batches of editing cases for the editor's training, each a pure function of (seed, stage, step)."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from liveedit.backbones import PictureInputs
from liveedit.config import CROWDED, LOOK_ALIKES
from liveedit.training.layouts import RowLayout
from liveedit.types import LiveEditError
from liveedit.world.cases import COUNT_WEIGHTS, Case, content_of, draw_target, sample_case
from liveedit.world.photos import PhotoSet, render_photo
from liveedit.world.questions import photo_question
from liveedit.world.scenes import Scene, render

EDIT, TEXT, IMAGE, LOCALITY = range(4)
UNRELATED, SAME_PICTURE, NEAR_MISS = range(3)
SOLO_STAGE, ROUTING_STAGE, JOINT_STAGE, CALIBRATION_STAGE = range(4)


@dataclass(frozen=True)
class Shown:
    """A picture and what is known of it: ``content`` are the things it shows (glyphs, or one photograph)."""

    pixels: np.ndarray
    content: frozenset[str]


@dataclass(frozen=True)
class Item:
    """One edit as training sees it: prompts, pictures, and one locality question of the given kind."""

    picture: Shown
    redrawn: Shown
    prompt: str
    rephrase: str
    target: str
    meaning: tuple[str, ...]
    locality_kind: int
    locality: Shown
    locality_prompt: str
    locality_answer: str
    locality_meaning: tuple[str, ...]


@dataclass
class Pairs:
    """What B edits and their B locality questions have to do with each other.

    ``related`` bool [2B, B]: whether the picture of an edit (first B) or of a locality question shares content with
    an edit's; ``same_meaning`` bool [2B, 2B] over the prompts of edits and locality questions; ``locality_kind`` [B].
    """

    related: torch.Tensor
    same_meaning: torch.Tensor
    locality_kind: torch.Tensor
    contents: list[frozenset[str]]
    locality_contents: list[frozenset[str]]
    meanings: list[tuple[str, ...]]

    @classmethod
    def of(
        cls,
        contents: list[frozenset[str]],
        locality_contents: list[frozenset[str]],
        meanings: list[tuple[str, ...]],
        locality_kind: torch.Tensor,
    ) -> Pairs:
        """Compare everything with everything; ``meanings`` are the edits' and then the locality questions'."""
        numbers: dict[tuple[str, ...], int] = {}
        meaning = torch.tensor([numbers.setdefault(m, len(numbers)) for m in meanings])
        return cls(
            torch.tensor([[not a.isdisjoint(b) for b in contents] for a in (*contents, *locality_contents)]),
            meaning[:, None] == meaning[None, :],
            locality_kind,
            contents,
            locality_contents,
            meanings,
        )

    def to(self, device: torch.device) -> Pairs:
        """The same on another device."""
        related, same = self.related.to(device), self.same_meaning.to(device)
        return replace(self, related=related, same_meaning=same, locality_kind=self.locality_kind.to(device))


@dataclass
class KnownStates:
    """What a batch's rows were found to be at layer l_e: ``hidden`` [R, T, d], and their ``positions`` [.., R, T]."""

    hidden: torch.Tensor
    positions: torch.Tensor

    def to(self, device: torch.device) -> KnownStates:
        """The same on another device."""
        return KnownStates(self.hidden.to(device), self.positions.to(device))


@dataclass
class EditorBatch:
    """B edits as R = 4B rows, ordered edit, text generality, image generality, locality (B of each).

    ``pictures`` P of them; ``which`` [R] each row's picture; ``ids``, ``mask`` [R, T] left-padded; ``vision``,
    ``prompt``, ``answer`` bool [R, T], the answer with its stop token; ``pairs`` says what the edits have to do with
    each other. Where the rows' states are ``known`` the pictures may be missing.
    """

    pictures: PictureInputs
    which: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    vision: torch.Tensor
    prompt: torch.Tensor
    answer: torch.Tensor
    pairs: Pairs
    known: KnownStates | None = None

    def to(self, device: torch.device) -> EditorBatch:
        """The same on another device."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "known"}
        return EditorBatch(**moved, known=None if self.known is None else self.known.to(device))


def shown(scene: Scene, size: int, blank: bool = False) -> Shown:
    """A scene's picture of ``size`` pixels a side (or a ``blank`` one), and its content."""
    pixels = np.zeros((size, size, 3), np.uint8) if blank else render(scene, size)
    return Shown(pixels, frozenset(str(glyph) for glyph, _ in content_of(scene)))


@dataclass(frozen=True)
class Mix:
    """What the world's training cases are made of.

    ``crowded``: the share of edits whose picture shows several things. ``look_alikes``: the share of locality rows that
    ask the same of a look-alike picture; the others ask something else, of the edit's picture or of another one.
    """

    crowded: float = CROWDED
    look_alikes: float = LOOK_ALIKES

    @property
    def counts(self) -> tuple[float, ...]:
        """The chances of one, two, three and four things."""
        several = sum(COUNT_WEIGHTS[1:])
        return (1 - self.crowded, *(self.crowded * weight / several for weight in COUNT_WEIGHTS[1:]))

    @property
    def kinds(self) -> tuple[float, float, float]:
        """The chances of ``UNRELATED``, ``SAME_PICTURE`` and ``NEAR_MISS``."""
        rest = (1 - self.look_alikes) / (0.34 + 0.33)
        return 0.34 * rest, 0.33 * rest, self.look_alikes


class EditorBatches(Dataset[EditorBatch]):
    """Batches by step. With photographs and annotations, some edits are photographs asked in natural words.

    Without ``pictures`` they are the same batches, but every picture is left blank: drawing them takes most of the time.
    """

    def __init__(
        self,
        seed: int,
        stage: int,
        steps: int,
        batch: int,
        layout: RowLayout,
        vocabulary: Sequence[str],
        photos: PhotoSet | None,
        exchanges: Sequence[tuple[str, str, str]],
        split: str = "train",
        pictures: bool = True,
        mix: Mix | None = None,
    ) -> None:
        self.seed, self.stage, self.steps, self.batch, self.split = seed, stage, steps, batch, split
        self.pictures, self.mix = pictures, mix or Mix()
        self.layout, self.vocabulary, self.photos, self.exchanges = layout, vocabulary, photos, exchanges
        self.answers = list(dict.fromkeys(a for _, _, a in exchanges))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> EditorBatch:
        stream = 11 if self.split == "train" else 12
        pixels = np.random.default_rng([self.seed, stream, self.stage, step])
        rng = random.Random(int(pixels.integers(2**62)))
        items = [self.item(rng, pixels) for _ in range(self.batch)]
        return self.collate(items, rng)

    def item(self, rng: random.Random, pixels: np.random.Generator) -> Item:
        """One edit: mostly the world's own cases, some in natural wording, some on photographs."""
        case = sample_case(rng, pixels, self.split, self.vocabulary, self.answers, self.mix.counts)
        kind = rng.choices((UNRELATED, SAME_PICTURE, NEAR_MISS), self.mix.kinds)[0]
        probe = (case.unrelated, case.same_picture, case.near_miss)[kind]
        size = self.layout.side
        blank = not self.pictures
        picture = shown(case.scene, size, blank)
        item = Item(
            picture,
            shown(case.redrawn, size, blank),
            case.prompt,
            case.rephrase,
            case.target,
            case.meaning,
            kind,
            # The first stage asks no locality question, so its picture need not be drawn.
            shown(probe.scene, size, blank) if self.stage != SOLO_STAGE and kind != SAME_PICTURE else picture,
            probe.prompt,
            probe.truth,
            probe.meaning,
        )
        if self.exchanges and rng.random() < 0.25:
            item = self.natural(item, rng)
        if self.photos is not None and rng.random() < 0.15:
            item = self.photograph(item, case, rng, pixels)
        return item

    def natural(self, item: Item, rng: random.Random) -> Item:
        """The same pictures, asked a natural question that an annotator rephrased."""
        question, again, _ = rng.choice(self.exchanges)
        target = draw_target(rng, "", "name", self.vocabulary, self.answers)
        meaning = ("natural", question)
        item = replace(item, prompt=question, rephrase=again, target=target, meaning=meaning)
        if item.locality_kind == NEAR_MISS:
            return replace(item, locality_prompt=question, locality_meaning=meaning)
        return item

    def photograph(self, item: Item, case: Case, rng: random.Random, pixels: np.random.Generator) -> Item:
        """An edit on a photograph; its look-alike is another photograph, mostly of the same class."""
        assert self.photos is not None
        index = rng.randrange(len(self.photos))
        label = int(self.photos.labels[index])

        def view(number: int) -> Shown:
            assert self.photos is not None
            drawn = render_photo(self.photos.images[number], self.layout.side, pixels)
            return Shown(drawn, frozenset({f"photo {number}"}))

        asked = [photo_question(self.photos.answer(index), rng, self.split) for _ in range(2)]
        prompt, again, meaning = asked[0].prompt, asked[1].prompt, ("photo", asked[0].kind)
        if asked[0].kind != asked[1].kind:
            again = prompt
        if self.exchanges and rng.random() < 0.5:
            prompt, again, _ = rng.choice(self.exchanges)
            meaning = ("natural", prompt)
        item = replace(item, picture=view(index), redrawn=view(index), prompt=prompt, rephrase=again, meaning=meaning)
        if item.locality_kind == SAME_PICTURE:
            other = case.unrelated.prompt
            return replace(
                item,
                locality=item.picture,
                locality_prompt=other,
                locality_answer=case.unrelated.truth,
                locality_meaning=("elsewhere", other),
            )
        if item.locality_kind == NEAR_MISS:
            number = index
            while number == index or (int(self.photos.labels[number]) != label and rng.random() < 0.98):
                number = rng.randrange(len(self.photos))
            return replace(
                item,
                locality=view(number),
                locality_prompt=prompt,
                locality_answer=self.photos.answer(number),
                locality_meaning=meaning,
            )
        return item

    def collate(self, items: Sequence[Item], rng: random.Random) -> EditorBatch:
        """The batch; image generality asks in the edit's own words half of the time and in the rephrased ones otherwise.

        In the routing stage, which has no row for text generality, always in the rephrased ones.
        """
        again = [rng.random() < 0.5 or self.stage in (ROUTING_STAGE, CALIBRATION_STAGE) for _ in items]
        return collate(items, [i.rephrase if a else i.prompt for i, a in zip(items, again, strict=True)], self.layout)


def collate(items: Sequence[Item], redrawn_prompts: Sequence[str], layout: RowLayout) -> EditorBatch:
    """Rows, pictures and the masks that say which pairs are related; ``redrawn_prompts`` ask image generality."""
    count = len(items)
    prompts = [i.prompt for i in items] + [i.rephrase for i in items] + [*redrawn_prompts]
    prompts += [i.locality_prompt for i in items]
    answers = [i.target for i in items] * 3 + [i.locality_answer for i in items]
    pictures = [i.picture.pixels for i in items] + [i.redrawn.pixels for i in items] + [i.locality.pixels for i in items]
    edit = list(range(count))
    which = edit + edit + [count + i for i in edit] + [2 * count + i for i in edit]
    contents, elsewhere = [i.picture.content for i in items], [i.locality.content for i in items]
    meanings = [i.meaning for i in items] + [i.locality_meaning for i in items]
    inputs, made = layout.batch(pictures, which, prompts, answers)
    rows: dict[str, Any] = made
    return EditorBatch(
        pictures=inputs,
        which=torch.tensor(which),
        **rows,
        pairs=Pairs.of(contents, elsewhere, meanings, torch.tensor([i.locality_kind for i in items])),
    )


def sources(photos: PhotoSet | None, exchanges: Sequence[tuple[str, str, str]], vocabulary: Sequence[str]) -> str:
    """A checksum of the data that batches are drawn from."""
    digest = hashlib.sha256(json.dumps([list(exchanges), list(vocabulary)]).encode())
    if photos is not None:
        digest.update(photos.images.tobytes())
        digest.update(photos.labels.tobytes())
    return digest.hexdigest()[:16]


class Batches(Protocol):
    """Batches by number: each a function of its number alone."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> EditorBatch: ...


class _Told(Dataset["EditorBatch | LiveEditError"]):
    """The batches of these numbers; one that cannot be made is the error that says why."""

    def __init__(self, batches: Batches, numbers: Sequence[int]) -> None:
        self.batches, self.numbers = batches, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> EditorBatch | LiveEditError:
        try:
            return self.batches[self.numbers[place]]
        except LiveEditError as error:
            return error


@lru_cache(maxsize=4)
def epoch_order(count: int, *stream: int) -> list[int]:
    """An order of ``count`` numbers, drawn from the stream of these numbers (seed, purpose, epoch)."""
    return [int(i) for i in np.random.default_rng(list(stream)).permutation(count)]


def loader(batches: Batches, numbers: Sequence[int]) -> Iterator[EditorBatch]:
    """The batches of these numbers, prepared by one background process."""
    for batch in DataLoader(_Told(batches, numbers), batch_size=None, num_workers=1, prefetch_factor=6):
        # Raised in the background, the sentence would drown in that process's traceback.
        if isinstance(batch, LiveEditError):
            raise batch
        yield batch
