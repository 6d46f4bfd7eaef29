"""Batches of the joint stage whose layer-l_e states are kept, in memory or in a folder.

On a benchmark's fixed samples the joint stage meets the same pictures and words again and again. The frozen half of
the model, which is half of a step's work on the shipped backbone, then runs once for each batch and not at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liveedit.backbones import PictureInputs
from liveedit.training.editor_samples import Batches, EditorBatch, KnownStates, Pairs, epoch_order, loader
from liveedit.training.processes import Share
from liveedit.training.state_cache import TEXTS, filled, progress, read_states, write_states

ROWS = ("which", "ids", "mask", "vision", "prompt", "answer")
TENSORS = (*ROWS, "hidden", "positions", "kinds")
STREAM = 3_000_021

Known = Callable[[EditorBatch], KnownStates]


class KeptBatches:
    """Batches with known states, each in memory or a file of ``folder``."""

    def __init__(self, batches: Sequence[EditorBatch | Path]) -> None:
        self.batches = batches

    @classmethod
    def compute(cls, known: Known, batches: Batches, share: Share) -> KeptBatches:
        """Find the states of all batches and keep them in memory."""
        every = progress(loader(batches, range(len(batches))), len(batches), share)
        return cls([_kept(known, batch.to(share.device)).to(torch.device("cpu")) for batch in every])

    @classmethod
    def open(
        cls, known: Known, batches: Batches, share: Share, folder: Path, settings: Mapping[str, Any]
    ) -> KeptBatches:
        """Find the states that ``folder`` lacks, each process its share of them."""
        paths = filled(folder, settings, batches, share, lambda batch, path: _write(_kept(known, batch), path))
        return cls(paths)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> EditorBatch:
        batch = self.batches[number]
        return _read(batch) if isinstance(batch, Path) else batch

    def shuffled(self, seed: int, steps: Sequence[int]) -> list[int]:
        """The numbers of the batches of ``steps``: all of them once, then all in another order, and so on."""
        places = (divmod(step, len(self)) for step in steps)
        return [epoch_order(len(self), seed, STREAM, epoch)[place] for epoch, place in places]


def _kept(known: Known, batch: EditorBatch) -> EditorBatch:
    """The batch with its states instead of its pictures."""
    return replace(batch, pictures=PictureInputs({}, {}), known=known(batch))


def _write(batch: EditorBatch, path: Path) -> None:
    assert batch.known is not None
    count, pairs = len(batch.pairs.contents), batch.pairs
    tensors = {name: getattr(batch, name) for name in ROWS}
    tensors |= {"hidden": batch.known.hidden, "positions": batch.known.positions, "kinds": pairs.locality_kind}
    texts = (pairs.contents, pairs.locality_contents, pairs.meanings[:count], pairs.meanings[count:])
    write_states(path, {name: t.cpu() for name, t in tensors.items()}, dict(zip(TEXTS, texts, strict=True)))


def _read(path: Path) -> EditorBatch:
    tensors, texts = read_states(path, TENSORS, TEXTS)
    contents, elsewhere, meanings, other = (texts[name] for name in TEXTS)
    rows: dict[str, Any] = {name: tensors[name] for name in ROWS}
    return EditorBatch(
        PictureInputs({}, {}),
        **rows,
        pairs=Pairs.of(contents, elsewhere, meanings + other, tensors["kinds"]),
        known=KnownStates(tensors["hidden"], tensors["positions"]),
    )
