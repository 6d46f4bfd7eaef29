"""Layer-l_e states of many cases, computed once, in memory or in a folder.

The frozen backbone's states never change, and the routing stage needs neither answers nor the layers above l_e,
so its batches can be ten times larger than the joint stage's. In a folder the states are safetensors shards that
are mapped into memory, so that a large backbone's need neither be computed again nor fit into memory. A folder
belongs to one backbone, layer, precision, seed and set of cases: ``settings.json`` says which.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from liveedit.backbones.split import LowerStates
from liveedit.files import whole
from liveedit.training.editor_samples import Batches, EditorBatch, Pairs, loader
from liveedit.training.processes import Share
from liveedit.types import ConfigError, DataError

Lower = Callable[[EditorBatch, torch.Tensor], LowerStates]
# Vision states that statistics are made of, at most: at a width of 4,096 a gigabyte.
SAMPLED_TOKENS = 65_536
SETTINGS = "settings.json"
TENSORS = ("vision", "seen", "prompt", "mask", "kinds")
CONTENTS = ("contents", "locality_contents")
TEXTS = (*CONTENTS, "meanings", "locality_meanings")


@dataclass
class Shard:
    """The states of one batch of n cases, on the CPU.

    ``vision`` [3, n, N, d] of pictures of up to N tokens and which are tokens, ``seen`` bool [3, n, N]; ``prompt``
    [3, n, P, d] of prompts of up to P tokens and which are tokens, ``mask`` bool [3, n, P]: rows are the edits, their
    redrawn pictures and the locality questions. ``kinds`` [n] and the texts are those of :class:`Pairs`.
    """

    vision: torch.Tensor
    seen: torch.Tensor
    prompt: torch.Tensor
    mask: torch.Tensor
    kinds: torch.Tensor
    contents: list[frozenset[str]]
    locality_contents: list[frozenset[str]]
    meanings: list[tuple[str, ...]]
    locality_meanings: list[tuple[str, ...]]

    @classmethod
    def of(cls, lower: Lower, batch: EditorBatch) -> Shard:
        """Run the frozen half on a batch and keep what the routing losses need."""
        count = len(batch.pairs.contents)
        places = torch.arange(3 * count, device=batch.ids.device)
        rows = torch.where(places < count, places, places + count)
        hidden = lower(batch, rows).hidden
        (vision, seen), (prompt, mask) = (
            _padded([hidden[number, part[row]] for number, row in enumerate(rows.tolist())])
            for part in (batch.vision, batch.prompt)
        )
        pairs = batch.pairs
        return cls(
            vision.view(3, count, *vision.shape[1:]).cpu(),
            seen.view(3, count, -1),
            prompt.view(3, count, *prompt.shape[1:]).cpu(),
            mask.view(3, count, -1),
            pairs.locality_kind.cpu(),
            pairs.contents,
            pairs.locality_contents,
            pairs.meanings[:count],
            pairs.meanings[count:],
        )

    def write(self, path: Path) -> None:
        """Write the shard so that an interruption leaves none or a whole one."""
        write_states(path, {n: getattr(self, n) for n in TENSORS}, {n: getattr(self, n) for n in TEXTS})

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Map a shard into memory: its tensors are read when they are used."""
        tensors, texts = read_states(path, TENSORS, TEXTS)
        values: dict[str, Any] = {**tensors, **texts}
        return cls(**values)


class StateCache:
    """The states of many cases, in shards."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards
        self.places = [(shard, i) for shard in shards for i in range(len(shard.contents))]

    @classmethod
    def compute(cls, lower: Lower, batches: Batches, share: Share) -> StateCache:
        """Compute the states of all batches and keep them in memory."""
        return cls(list(computed(lower, batches, share)))

    @classmethod
    def open(
        cls, lower: Lower, batches: Batches, share: Share, folder: Path, settings: Mapping[str, Any]
    ) -> StateCache:
        """Compute the states that ``folder`` lacks, each process its share of them, and map all of them."""
        paths = filled(folder, settings, batches, share, lambda batch, path: Shard.of(lower, batch).write(path))
        return cls([Shard.read(path) for path in paths])

    def __len__(self) -> int:
        return len(self.places)

    def sample(self, rows: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
        """Vision states [N, d] and prompt states [M, d] of the first ``rows`` edits, in float32.

        Of pictures with more than ``SAMPLED_TOKENS`` tokens in all, only every n-th token is taken.
        """
        places = self.places[:rows]
        tokens = [shard.seen[0, i].nonzero()[:, 0] for shard, i in places]
        step = -(-sum(map(len, tokens)) // SAMPLED_TOKENS)
        vision = torch.cat([shard.vision[0, i, t[::step]] for (shard, i), t in zip(places, tokens, strict=True)])
        prompt = torch.cat([shard.prompt[0, i, shard.mask[0, i]] for shard, i in places])
        return vision.float(), prompt.float()

    def batch(
        self, chosen: list[int], device: torch.device
    ) -> tuple[Pairs, torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """Pairs, vision states [3b, N, d] and which of those are tokens [3b, N] (None: all), prompt states [3b, P, d]
        and which of those are tokens [3b, P]."""
        places = [self.places[i] for i in chosen]
        pairs = Pairs.of(
            [shard.contents[i] for shard, i in places],
            [shard.locality_contents[i] for shard, i in places],
            [s.meanings[i] for s, i in places] + [s.locality_meanings[i] for s, i in places],
            torch.stack([shard.kinds[i] for shard, i in places]),
        ).to(device)
        # Pictures and prompts differ in tokens from shard to shard: rows are filled up, place by place in their order.
        rows = [(shard, kind, i) for kind in range(3) for shard, i in places]
        vision, seen, prompt, mask = (
            pad_sequence([getattr(shard, name)[kind, i] for shard, kind, i in rows], batch_first=True).to(device)
            for name in ("vision", "seen", "prompt", "mask")
        )
        return pairs, vision.float(), None if bool(seen.all()) else seen, prompt.float(), mask


def _padded(spans: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Spans of states [t, d] as one tensor [n, T, d] as long as the longest, and which of it are states, bool [n, T]."""
    padded = pad_sequence(spans, batch_first=True)
    lengths = torch.tensor([len(span) for span in spans])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def write_states(path: Path, tensors: Mapping[str, torch.Tensor], texts: Mapping[str, Sequence[Any]]) -> None:
    """Write states and what their cases are about, so that an interruption leaves no file or a whole one."""
    said = {name: json.dumps([sorted(t) if isinstance(t, frozenset) else t for t in text]) for name, text in texts.items()}
    try:
        with whole(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, said)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"states could not be cached in {path.parent} ({error}): free some space or choose another --cache"
        ) from error


def read_states(
    path: Path, tensors: Sequence[str], texts: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, list[Any]]]:
    """Map into memory what :func:`write_states` wrote: tensors are read when they are used."""
    try:
        with safe_open(path, framework="pt") as handle:
            said = {name: json.loads(handle.metadata()[name]) for name in texts}
        found = load_file(path)
        sets = {name: frozenset if name in CONTENTS else tuple for name in texts}
        return {name: found[name] for name in tensors}, {name: [sets[name](t) for t in said[name]] for name in texts}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the cached states {path} are damaged ({error}): remove the file, its states are computed again"
        ) from error


def bytes_of(rows: int, tokens: int, width: int, dtype: torch.dtype) -> int:
    """Bytes of the states of ``rows`` rows of ``tokens`` tokens, at a backbone's width and type."""
    return rows * tokens * width * dtype.itemsize


def filled(
    folder: Path,
    settings: Mapping[str, Any],
    batches: Batches,
    share: Share,
    write: Callable[[EditorBatch, Path], None],
) -> list[Path]:
    """The files of all batches in ``folder``; those it lacks are written, by each process its share of them."""
    if share.writes:
        claim(folder, settings)
    share.wait()
    paths = [folder / f"states-{i:05d}.safetensors" for i in range(len(batches))]
    missing = [i for i in range(share.rank, len(paths), share.count) if not paths[i].exists()]
    for i, batch in zip(missing, progress(loader(batches, missing), len(missing), share), strict=True):
        write(batch.to(share.device), paths[i])
    share.wait()
    return paths


def computed(lower: Lower, batches: Batches, share: Share) -> Iterator[Shard]:
    """The states of one batch after another."""
    for batch in progress(loader(batches, range(len(batches))), len(batches), share):
        yield Shard.of(lower, batch.to(share.device))


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Take a folder for states of these settings; one that holds anything else is refused."""
    path = folder / SETTINGS
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds files but no cached states: choose an empty folder for --cache")
        folder.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): remove {folder}, its states are computed again") from error
    for name, value in settings.items():
        if not isinstance(found, dict) or found.get(name) != value:
            was = found.get(name) if isinstance(found, dict) else None
            raise ConfigError(
                f"the states in {folder} were cached with {name} {was}, this training has {value}: choose another "
                "folder for --cache, or the settings it was made with"
            )


def progress(batches: Any, total: int, share: Share) -> Any:
    """A progress bar over ``batches``, drawn by the main process."""
    return tqdm(batches, total=total, desc="caching states", file=sys.stderr, mininterval=5, disable=not share.writes)
