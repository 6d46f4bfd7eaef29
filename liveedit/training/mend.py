"""Training of MEND's hyper-networks: the edit's loss on reworded and redrawn questions, and locality.

Mitchell et al., ICLR 2022, Section 3.3; text and image generality and locality as Chen et al., CVPR 2025 have them
(Section 3). The layers below the edited ones run once, without gradients; each edit of a batch changes its own rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from liveedit.backbones import Backbone
from liveedit.backbones.split import LowerStates, SplitForward
from liveedit.backbones.twin import exchanged
from liveedit.configs.mend import MendConfig, MendTrainingConfig
from liveedit.editors.mend import Mend
from liveedit.editors.mend.networks import Changed, Factors, ReadMoments, Tapped, edited_layers, edited_maps, gradients
from liveedit.training.baselines import Trainee
from liveedit.training.editor_samples import EditorBatch


def build(backbone: Backbone, architecture: MendConfig, config: MendTrainingConfig) -> MendTrainee:
    """The untrained editor, ready to be trained."""
    architecture.check_depth(len(backbone.layers))
    return MendTrainee(Mend(backbone, replace(architecture, backbone=backbone.fingerprint)), config)


class Rows:
    """Rows [R, T] as they leave the layers below the edited ones; ``picked`` [R] are their places among ``states``."""

    def __init__(
        self, states: LowerStates, ids: torch.Tensor, answer: torch.Tensor, picked: torch.Tensor | None = None
    ) -> None:
        self.states, self.ids, self.answer = states, ids, answer
        self.picked = torch.arange(len(ids), device=ids.device) if picked is None else picked

    def of(self, places: range) -> Rows:
        """Some of the rows."""
        chosen = torch.tensor(places, device=self.ids.device)
        return Rows(self.states, self.ids[chosen], self.answer[chosen], self.picked[chosen])


class MendTrainee(Trainee):
    """The loss of a batch of edits."""

    def __init__(self, editor: Mend, config: MendTrainingConfig) -> None:
        super().__init__(editor.networks, config.seed)
        self.editor, self.config, self.backbone = editor, config, editor.backbone
        self.layer = edited_layers(self.backbone, editor.config).start - 1
        self.split = SplitForward(self.backbone, self.layer)
        self.maps = edited_maps(self.backbone, editor.config)
        self.beginning = config.whitening_batches

    def begin(self, batches: Iterable[EditorBatch]) -> None:
        """Whiten what the maps read, as these batches show it."""
        moments = [ReadMoments() for _ in self.maps]
        for batch in batches:
            factors = self.gradients(self.shown(batch), len(batch.pairs.contents))
            with torch.no_grad():
                self.modules(factors, learn=True)
            for seen, given in zip(moments, factors, strict=True):
                seen.see(given)
        self.editor.networks.whiten(moments)

    def loss(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """c_e times the edit's loss on its own, reworded and redrawn questions, plus the KL divergence of locality.

        The locality questions are asked once with their picture and once as text alone.
        """
        count = len(batch.pairs.contents)
        shown, bare = self.shown(batch), self.bare(batch)
        factors = self.modules(self.gradients(shown, count), learn=torch.is_grad_enabled())
        logits, gold, number = self.logits(shown, self.changed(factors, 4))
        edited = number < 3 * count
        tokens = nn.functional.cross_entropy(logits[edited], gold[edited], reduction="none")
        edit = _by_row(tokens, number[edited], 3 * count)
        with_picture = self._apart(logits[~edited], shown.of(range(3 * count, 4 * count)), count)
        without = self._apart(self.logits(bare, self.changed(factors, 1))[0], bare, count)
        locality = (with_picture + without) / 2
        right = (logits[edited].argmax(-1) == gold[edited]).float().mean()
        loss = self.config.edit_weight * edit + locality
        return loss, {"edit": edit.item(), "locality": locality.item(), "right": right.item()}

    def shown(self, batch: EditorBatch) -> Rows:
        """The batch's 4B rows with their pictures, run below the edited layers."""
        which, index = torch.unique(batch.which, return_inverse=True)
        pictures = batch.pictures.select(which.tolist()).to(self.backbone.device, self.backbone.model.dtype)
        return Rows(self.split.lower(batch.ids, batch.mask, pictures, index.tolist()), batch.ids, batch.answer)

    def bare(self, batch: EditorBatch) -> Rows:
        """The batch's B locality questions and their answers without a picture, run below the edited layers."""
        asked, said = [], []
        for row in range(3 * len(batch.pairs.contents), len(batch.ids)):
            words = batch.mask[row].bool() & ~batch.vision[row] & ~batch.answer[row]
            asked.append(batch.ids[row][words].tolist())
            said.append(batch.ids[row][batch.answer[row]].tolist())
        encoded = self.backbone.collate(asked, said, None)
        return Rows(self.split.states(encoded), encoded.input_ids, encoded.part("answer"))

    def gradients(self, rows: Rows, count: int) -> list[Factors]:
        """What each edit's row (the first ``count``) gives the hyper-networks: its own gradient on the unedited model."""
        taps = [Tapped(m) for m in self.maps]
        with torch.enable_grad():
            logits, gold, number = self.logits(rows.of(range(count)), dict(zip(self.maps, taps, strict=True)))
            tokens = nn.functional.cross_entropy(logits, gold, reduction="none")
            # A sum over rows: the gradient of one does not know how many edits share its batch.
            loss = _by_row(tokens, number, count) * count
        return gradients(loss, taps, count)

    def changed(self, factors: Sequence[Factors], times: int) -> dict[nn.Module, nn.Module]:
        """The edited maps in place of the model's, for batches in which each edit has ``times`` rows."""
        repeated = [Factors(f.x.repeat(times, 1, 1), f.g.repeat(times, 1, 1)) for f in factors]
        return {m: Changed(m, f) for m, f in zip(self.maps, repeated, strict=True)}

    def logits(
        self, rows: Rows, parts: Mapping[nn.Module, nn.Module]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [N, vocabulary], gold ids [N] and row numbers [N] of the answers' tokens, with ``parts`` exchanged."""
        split = SplitForward(exchanged(self.backbone, parts), self.layer)
        hidden = split.upper(rows.states, rows.states.hidden[rows.picked], rows.picked)
        wanted = torch.zeros_like(rows.answer)
        wanted[:, :-1] = rows.answer[:, 1:]
        gold = torch.zeros_like(rows.ids)
        gold[:, :-1] = rows.ids[:, 1:]
        number = torch.arange(len(rows.ids), device=wanted.device)[:, None].expand_as(wanted)
        return self.backbone.head(hidden[wanted]).float(), gold[wanted], number[wanted]

    def _apart(self, after: torch.Tensor, rows: Rows, count: int) -> torch.Tensor:
        """KL divergence of the edited model's predictions from the unedited model's, mean over rows."""
        with torch.no_grad():
            before, _, number = self.logits(rows, {})
        apart = nn.functional.kl_div(after.log_softmax(-1), before.log_softmax(-1), log_target=True, reduction="none")
        return _by_row(apart.sum(-1), number, count)

    def save(self, out: Path) -> None:
        """Write the trained editor."""
        self.editor.save_pretrained(out)


def _by_row(values: torch.Tensor, number: torch.Tensor, count: int) -> torch.Tensor:
    """The mean over rows of the means over each row's tokens."""
    sums = values.new_zeros(count).index_add(0, number, values)
    sizes = values.new_zeros(count).index_add(0, number, torch.ones_like(values))
    return (sums / sizes.clamp(min=1)).mean()
