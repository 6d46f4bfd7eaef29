"""The expert repository (paper, Section 4.1): an ordered collection of experts with their edits.

A plain value, one per person. Removing or switching off an expert leaves the others untouched, to the
bit, because each came from the unedited model. A file of it is one safetensors file, pictures included.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

from liveedit.config import EditorConfig
from liveedit.experts.repository_file import FORMAT, STORED_SIDE, TENSORS, Limits, read_experts, shapes_of
from liveedit.files import whole
from liveedit.types import Edit, RepositoryError

_PIXEL = Image.new("RGB", (1, 1))


@dataclass(frozen=True)
class Expert:
    """One edit and what was made of it: ``U``, ``V`` [r, d] and ``phi``, ``psi`` [k, d_m], float32 on the CPU.

    ``scale`` multiplies the expert's weight after soft routing (1 is the paper's); ``active`` switches it. Both are
    changed in a repository, which may share an expert with others.
    """

    id: str
    edit: Edit
    U: torch.Tensor
    V: torch.Tensor
    phi: torch.Tensor
    psi: torch.Tensor
    active: bool = True
    scale: float = 1.0


@dataclass
class ExpertRepository:
    """The experts of one person, in the order of their edits.

    ``made_by`` names the trained weights that the experts come from (empty: not known): those of another training have
    the same shapes, and their similarities mean nothing.
    """

    config: EditorConfig
    experts: list[Expert] = field(default_factory=list)
    made_by: str = ""
    # What is asked for with every answer, as one tensor for all experts: reading a thousand one by one takes longer
    # than routing among them.
    _stacked: dict[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def empty(cls, config: EditorConfig, made_by: str = "") -> ExpertRepository:
        """A repository without experts for an editor of this configuration and these trained weights."""
        return cls(config, made_by=made_by)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or another process gets: the experts alone, which lie on the CPU, and not their stacks on a GPU."""
        return {**self.__dict__, "_stacked": {}}

    def copy(self) -> ExpertRepository:
        """A repository of the same experts, which can be added to, switched and removed there without touching this one."""
        return ExpertRepository(self.config, list(self.experts), self.made_by, dict(self._stacked))

    def __len__(self) -> int:
        return len(self.experts)

    def __iter__(self) -> Iterator[Expert]:
        return iter(self.experts)

    def get(self, expert_id: str) -> Expert:
        """The expert of this id."""
        for expert in self.experts:
            if expert.id == expert_id:
                return expert
        raise RepositoryError(f"there is no edit {expert_id!r}: list the edits to see their ids")

    def add(
        self, edits: list[Edit], U: torch.Tensor, V: torch.Tensor, phi: torch.Tensor, psi: torch.Tensor
    ) -> list[str]:
        """Append experts: ``U``, ``V`` [B, r, d], ``phi``, ``psi`` [B, k, d_m]; returns their new ids."""
        added = [
            Expert(uuid.uuid4().hex[:12], edit, *(t.detach().float().cpu().clone() for t in tensors))
            for edit, *tensors in zip(edits, U, V, phi, psi, strict=True)
        ]
        for expert in added:
            self._check(expert)
        self.experts.extend(added)
        self._stacked.clear()
        return [expert.id for expert in added]

    def extend(self, others: Iterable[Expert]) -> list[str]:
        """Append another repository's experts except those already here; returns the ids added."""
        known = {expert.id for expert in self.experts}
        added = [expert for expert in others if expert.id not in known]
        for expert in added:
            self._check(expert)
        self.experts.extend(added)
        self._stacked.clear()
        return [expert.id for expert in added]

    def forget_pictures(self) -> None:
        """Put one pixel in place of every edit's picture, so that measuring thousands of edits keeps none in memory."""
        for place, expert in enumerate(self.experts):
            if expert.edit.image is not _PIXEL:
                self.experts[place] = replace(expert, edit=replace(expert.edit, image=_PIXEL))

    def remove(self, expert_id: str) -> None:
        """Forget one expert; the rest is untouched."""
        self.experts.remove(self.get(expert_id))
        self._stacked.clear()

    def set_active(self, expert_id: str, active: bool) -> None:
        """Switch one expert on or off."""
        self._change(expert_id, active=active)

    def set_scale(self, expert_id: str, scale: float) -> None:
        """Multiply one expert's weight by ``scale`` from now on."""
        self._change(expert_id, scale=float(scale))

    def _change(self, expert_id: str, **values: Any) -> None:
        """Put an expert with other ``values`` in the place of this one."""
        expert = self.get(expert_id)
        place = next(i for i, other in enumerate(self.experts) if other is expert)
        self.experts[place] = replace(expert, **values)
        for name in values:
            self._stacked.pop(name, None)

    def stacked(self, name: str, device: torch.device | str = "cpu") -> torch.Tensor:
        """All experts' ``U``, ``V``, ``phi`` or ``psi`` as one tensor [E, ...], kept until the experts change."""
        key = f"{name}@{device}"
        if key not in self._stacked:
            self._stacked[key] = torch.stack([getattr(e, name) for e in self.experts]).to(device)
        return self._stacked[key]

    def active_mask(self) -> torch.Tensor:
        """Bool [E]: which experts are switched on."""
        return self._values("active", np.bool_)

    def scales(self) -> torch.Tensor:
        """Float [E]: each expert's scale."""
        return self._values("scale", np.float32)

    def _values(self, name: str, kind: type[np.generic]) -> torch.Tensor:
        """A number or truth value of every expert, [E], kept until one changes."""
        if name not in self._stacked:
            self._stacked[name] = torch.from_numpy(np.array([getattr(e, name) for e in self.experts], dtype=kind))
        return self._stacked[name]

    @property
    def any_active(self) -> bool:
        """Whether at least one expert is switched on."""
        return any(e.active for e in self.experts)

    def nbytes(self) -> int:
        """Bytes of the experts' tensors (pictures not counted)."""
        return sum(getattr(e, n).numel() * getattr(e, n).element_size() for e in self.experts for n in TENSORS)

    def _check(self, expert: Expert) -> None:
        for name, shape in shapes_of(self.config).items():
            value = getattr(expert, name)
            if tuple(value.shape) != shape:
                raise RepositoryError(
                    f"an expert's {name} has shape {tuple(value.shape)}, this editor's is {shape}: "
                    "the edits were made with another editor"
                )
            if not torch.isfinite(value).all():
                raise RepositoryError(f"an expert's {name} holds numbers that are not finite: the file is damaged")

    def save(self, path: str | Path) -> None:
        """Write the repository to one safetensors file; an interrupted or failed write leaves the old file whole."""
        path = Path(path)
        tensors: dict[str, torch.Tensor] = {}
        pictures, places = _stored(e.edit.image for e in self.experts)
        sizes = [len(picture) for picture in pictures]
        if self.experts:
            tensors = {name: self.stacked(name).contiguous() for name in TENSORS}
            tensors["pictures"] = torch.from_numpy(np.frombuffer(bytearray().join(pictures), np.uint8))
        rows = [
            {
                "id": e.id,
                "prompt": e.edit.prompt,
                "target": e.edit.target,
                "active": e.active,
                "scale": e.scale,
                "picture": place,
            }
            for e, place in zip(self.experts, places, strict=True)
        ]
        metadata = {
            "format": FORMAT,
            "backbone": self.config.backbone,
            "layer": str(self.config.layer),
            "made_by": self.made_by,
            "experts": json.dumps(rows),
            "pictures": json.dumps(sizes),
        }
        try:
            with whole(path) as part:
                save_file(tensors, part, metadata)
        except (OSError, SafetensorError) as error:
            raise RepositoryError(
                f"the edits could not be saved to {path} ({error}): free some space or choose another place"
            ) from error

    @classmethod
    def load(
        cls, path: str | Path, config: EditorConfig, made_by: str = "", limits: Limits | None = None
    ) -> ExpertRepository:
        """Read a repository made with an editor of this configuration and these weights; any other is refused."""
        repository = cls(config, made_by=made_by)
        for row, picture, tensors in read_experts(path, config, made_by, limits):
            edit = Edit(picture, row["prompt"], row["target"])
            # Copies, so that one expert does not keep the tensors of all.
            kept = {name: tensor.float().clone() for name, tensor in tensors.items()}
            expert = Expert(row["id"], edit, **kept, active=row["active"], scale=float(row["scale"]))
            repository._check(expert)
            repository.experts.append(expert)
        return repository


def _stored(images: Iterable[Image.Image]) -> tuple[list[bytes], list[int]]:
    """The files of all different pictures, and for each given one which of them is its own."""
    numbers: dict[bytes, int] = {}
    known: dict[int, int] = {}
    places = []
    for image in images:
        # Edits of one picture mostly share it; equal ones are found by what would be stored.
        if id(image) not in known:
            known[id(image)] = numbers.setdefault(_png(image), len(numbers))
        places.append(known[id(image)])
    return list(numbers), places


def _png(image: Image.Image) -> bytes:
    """The picture as PNG, at most 512 pixels a side: enough to look at, small enough to keep a thousand."""
    small = image.convert("RGB")
    small.thumbnail((STORED_SIDE, STORED_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()
