"""What an attribution explains: one number that a question's picture gives, and its value on perturbed pictures.

Every target is a *score*, larger for what the picture speaks for: how much of it a region carries is what the
score loses without the region. Two targets are functions of routing features (LiveEdit, Eqs. 3 and 5) and need
the backbone up to layer l_e only; three are log-probabilities of answers and need all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from PIL.Image import Image
from torch.nn import functional as F

from liveedit.backbones import EncodedBatch
from liveedit.editors import LiveEdit
from liveedit.editors.decoding import log_probabilities
from liveedit.experts import ExpertRepository
from liveedit.experts.routing import pair_similarity, similarity
from liveedit.types import InputError, Query

SIDES = ("query", "edit")


@dataclass(frozen=True)
class Instance:
    """A question and what the targets need of it.

    ``side``: whose extractor makes the key visual feature, the question's (``query``) or an edit's (``edit``).
    ``repository`` and ``expert_id``: the edits, and the one whose routing margin is explained. ``base`` and
    ``edited``: token ids of the unedited and the edited answer; :func:`answered` asks for those that are missing.
    """

    image: Image
    prompt: str
    side: str = "query"
    repository: ExpertRepository | None = None
    expert_id: str | None = None
    base: tuple[int, ...] | None = None
    edited: tuple[int, ...] | None = None
    template: bool = True


class Score(Protocol):
    """A target's value for pixel values [B * n, ...] of B pictures: [B], differentiable.

    ``forwards`` counts the passes of the backbone so far, by pictures.
    """

    forwards: int

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor: ...


# Of a feature phi [B, k, d_m], the clean picture's phi and the sentinel's [B or 1, k, d_m]: one value [B].
FeatureFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Target:
    """One target: what people read, and how it is made for an instance.

    ``function`` makes a target of routing features; ``terms`` names the answers whose log-probabilities are added
    (with 1) or subtracted (with -1). One of the two is given.
    """

    label: str
    help: str
    function: Callable[[LiveEdit, Instance], FeatureFunction] | None = None
    terms: tuple[tuple[str, int], ...] = ()


def _likeness(_editor: LiveEdit, _instance: Instance) -> FeatureFunction:
    """cos(phi, clean phi): what is lost of it is 1 - cos, as in the caption of Figure 6."""
    return lambda phi, clean, _threshold: F.cosine_similarity(phi.flatten(1), clean.flatten(1), dim=-1)


def _margin(editor: LiveEdit, instance: Instance) -> FeatureFunction:
    """phi . phi_expert - phi . phi_sentinel (Eq. 5) of the chosen expert, and the threshold's slack."""
    if instance.repository is None or instance.expert_id is None:
        raise InputError("the routing margin belongs to an edit: choose one")
    if instance.side != "query":
        raise InputError("the routing margin is the question's: choose the side query")
    expert = instance.repository.get(instance.expert_id).phi.to(editor.device)[None]
    slack = editor.config.threshold_slack
    return lambda phi, _clean, threshold: similarity(phi, expert)[:, 0] - pair_similarity(phi, threshold) + slack


TARGETS: dict[str, Target] = {
    "feature": Target(
        "Key visual feature", "what the picture was read for: how far the feature that edits are routed by turns",
        function=_likeness,
    ),
    "margin": Target(
        "Routing margin", "why this edit was selected: how far its similarity stays above the threshold",
        function=_margin,
    ),
    "base": Target(
        "Unedited answer", "log-probability of the unedited model's answer, under the unedited model",
        terms=(("base", 1),),
    ),
    "edited": Target(
        "Edited answer", "log-probability of the edited model's answer, under the edited model",
        terms=(("edited", 1),),
    ),
    "difference": Target(
        "Edited minus unedited", "log-probability of the edited answer less that of the unedited one, each under its model",
        terms=(("edited", 1), ("base", -1)),
    ),
}  # fmt: skip


def target_named(name: str) -> Target:
    """The target of this name."""
    if name not in TARGETS:
        raise InputError(f"the target is {name!r}: choose {', '.join(TARGETS)}")
    return TARGETS[name]


def check_side(side: str) -> None:
    """Refuse what is neither side."""
    if side not in SIDES:
        raise InputError(f"the side is {side!r}: choose {' or '.join(SIDES)}")


def answered(editor: LiveEdit, instance: Instance, target: Target) -> Instance:
    """The instance with the answers that the target needs, asking for those it lacks."""
    for name, _ in target.terms:
        if name == "edited" and (instance.repository is None or not instance.repository.any_active):
            raise InputError("there is no edited answer without an active edit: give the edits, and switch one on")
        if getattr(instance, name) is None:
            state = instance.repository if name == "edited" else None
            said = editor.answer(state, Query(instance.image, instance.prompt), template=instance.template)
            tokens = said.tokens
            instance = replace(instance, edited=tokens) if name == "edited" else replace(instance, base=tokens)
        if not getattr(instance, name):
            model = "edited" if name == "edited" else "unedited"
            raise InputError(f"the {model} answer is empty, so nothing made it: choose another target or question")
    return instance


def score_of(editor: LiveEdit, instance: Instance, target: Target) -> Score:
    """The target's score for an instance."""
    check_side(instance.side)
    if target.function is not None:
        return FeatureScore(editor, instance, target.function(editor, instance))
    return AnswerScore(editor, answered(editor, instance, target), target.terms)


class FeatureScore:
    """A function of the routing features that pixels give."""

    def __init__(self, editor: LiveEdit, instance: Instance, function: FeatureFunction) -> None:
        self.editor, self.side, self.function, self.forwards = editor, instance.side, function, 0
        self.row = editor.backbone.encode([instance.image], [instance.prompt], None, instance.template)
        with torch.no_grad():
            self.clean = self._features(self.row)[0]

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        phi, threshold = self._features(with_pixels(self.row, pixels))
        return self.function(phi, self.clean, threshold)

    def _features(self, batch: EncodedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """phi and the sentinel's phi, [B, k, d_m] each; the edit side, which has no sentinel, gives phi twice."""
        self.forwards += len(batch.input_ids)
        hidden = self.editor.states(batch)
        vision, prompt = (batch.part(name).to(hidden.device) for name in ("vision", "prompt"))
        whole = self.editor.routing.whole_picture
        if self.side == "edit":
            phi = self.editor.modules.encode_edit(hidden, vision, prompt, whole)[0]
            return phi, phi
        features = self.editor.modules.encode_query(hidden, vision, prompt, whole)
        return features.visual, features.threshold


class AnswerScore:
    """A sum of log-probabilities of answers, each under the model, unedited or edited, that gave it.

    The edited model is the one that answers: routed anew for every perturbed picture, so an edit that no longer
    passes hard routing no longer speaks.
    """

    def __init__(self, editor: LiveEdit, instance: Instance, terms: tuple[tuple[str, int], ...]) -> None:
        self.editor, self.repository, self.forwards = editor, instance.repository, 0
        self.terms: list[tuple[EncodedBatch, bool, int]] = []
        for name, sign in terms:
            tokens = getattr(instance, name)
            row = editor.backbone.encode([instance.image], [instance.prompt], [tokens], instance.template)
            self.terms.append((row, name == "edited", sign))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack([sign * self._term(row, edited, pixels) for row, edited, sign in self.terms]).sum(0)

    def _term(self, row: EncodedBatch, edited: bool, pixels: torch.Tensor) -> torch.Tensor:
        batch = with_pixels(row, pixels)
        count = len(batch.input_ids)
        self.forwards += count
        with self.editor.edited(batch, self.repository if edited else None):
            return torch.stack([tokens.sum() for tokens in log_probabilities(self.editor.backbone, batch)])


def with_pixels(row: EncodedBatch, pixels: torch.Tensor) -> EncodedBatch:
    """The one row of ``row`` for each of the B pictures whose pixels ``pixels`` [B * n, ...] holds."""
    assert row.pictures is not None
    own = row.pictures.values["pixel_values"]
    count = pixels.shape[0] // own.shape[0]
    pictures = row.pictures.select([0] * count)
    pictures.values["pixel_values"] = pixels.to(own.dtype)
    return replace(
        row,
        input_ids=row.input_ids.expand(count, -1),
        attention_mask=row.attention_mask.expand(count, -1),
        position_ids=row.position_ids.repeat_interleave(count, dim=-2),
        pictures=pictures,
        spans=row.spans * count,
        offsets=row.offsets * count,
        token_types={name: types.expand(count, -1) for name, types in row.token_types.items()},
    )
