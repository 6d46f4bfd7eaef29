"""The losses of LiveEdit's editor on a frozen backbone (Chen et al., CVPR 2025, Section 4.3).

Rows of a batch run through the frozen lower layers once, without gradients; the upper layers run on the edited
states. A memory of recent edits' visual features shows the hard filter a crowd that no batch could hold. Experts
are mixed, and rivals compared, within a batch and that memory: with several processes, within each process's own.
"""

from __future__ import annotations

import random

import torch

from liveedit.backbones import Backbone
from liveedit.backbones.split import LowerStates, SplitForward
from liveedit.config import EditorTrainingConfig
from liveedit.experts import similarity
from liveedit.experts.modules import LiveEditModules, generator_input
from liveedit.experts.routing import soft_weights
from liveedit.losses import answer_loss, locality_loss, mean_by_row
from liveedit.training.crowd import FeatureMemory
from liveedit.training.editor_samples import NEAR_MISS, SAME_PICTURE, EditorBatch, KnownStates
from liveedit.training.routing_losses import routing_losses, stand_ins
from liveedit.training.state_cache import StateCache


class EditorTrainer:
    """The losses of one batch, for each stage; batches lie on the backbone's device."""

    def __init__(self, backbone: Backbone, modules: LiveEditModules, config: EditorTrainingConfig) -> None:
        self.backbone, self.modules, self.config = backbone, modules, config
        self.split = SplitForward(backbone, modules.config.layer)
        self.memory = FeatureMemory(config.memory)
        self.seed = config.seed

    def lower(self, batch: EditorBatch, rows: slice | torch.Tensor) -> LowerStates:
        """The frozen half for some rows of a batch."""
        which, index = torch.unique(batch.which[rows], return_inverse=True)
        pictures = batch.pictures.select(which.tolist()).to(self.backbone.device, self.backbone.model.dtype)
        return self.split.lower(batch.ids[rows], batch.mask[rows], pictures, index.tolist())

    def known(self, batch: EditorBatch) -> KnownStates:
        """The layer-l_e states of a batch, to be kept with it."""
        which, index = torch.unique(batch.which, return_inverse=True)
        pictures = batch.pictures.select(which.tolist())
        positions = self.backbone.positions(batch.ids, batch.mask, pictures, index.tolist())
        return KnownStates(self.lower(batch, slice(None)).hidden, positions)

    def everything(self, batch: EditorBatch) -> LowerStates:
        """The frozen half of a whole batch, which runs where its states are not known."""
        if batch.known is None:
            return self.lower(batch, slice(None))
        return self.split.known(batch.ids, batch.mask, batch.known.positions, batch.known.hidden)

    def experts(self, batch: EditorBatch, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """U and V [B, r, d] of the batch's edits, from the layer states of their rows (the first B)."""
        count = len(batch.pairs.contents)
        parts = (batch.vision[:count], batch.prompt[:count], batch.answer[:count])
        embeddings = self.backbone.embed(batch.ids[:count]).float()
        return self.modules.generator(generator_input(*parts, hidden[:count], embeddings))

    def logits(
        self,
        batch: EditorBatch,
        states: LowerStates,
        edited: torch.Tensor,
        rows: torch.Tensor,
        picked: torch.Tensor,
        again: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [N, vocabulary], gold ids [N] and sample numbers [N] of the answers of rows ``picked``.

        ``edited`` [n, T, d] are the states of those rows, ``rows`` their places among the states' rows and
        ``picked`` their places in the batch. ``again`` runs layer l_e on them once more (``layer_twice``).
        """
        edited = edited.to(states.hidden.dtype)
        final = self.split.upper(states, edited, rows, again, recompute=self.config.recompute and edited.requires_grad)
        wanted = torch.zeros_like(batch.answer[picked])
        wanted[:, :-1] = batch.answer[picked][:, 1:]
        gold = torch.zeros_like(batch.ids[picked])
        gold[:, :-1] = batch.ids[picked][:, 1:]
        number = torch.arange(len(picked), device=wanted.device)[:, None].expand_as(wanted)
        return self.backbone.head(final[wanted]).float(), gold[wanted], number[wanted]

    def solo(self, batch: EditorBatch) -> tuple[torch.Tensor, dict[str, float]]:
        """Each edit's answer on its own picture and on the redrawn one, under its own expert at full weight."""
        count = len(batch.pairs.contents)
        places = torch.arange(2 * count, device=batch.ids.device)
        rows = torch.where(places < count, places, places + count)
        states = self.lower(batch, rows)
        hidden = states.hidden.float()
        U, V = self.experts(batch, hidden)
        one = hidden.new_ones(2 * count, 1)
        edited = self.modules.residual(hidden, U.repeat(2, 1, 1)[:, None], V.repeat(2, 1, 1)[:, None], one)
        logits, gold, number = self.logits(batch, states, edited, places, rows, self.config.layer_twice)
        losses = answer_loss(logits, gold, number, 2 * count)
        right = (logits.argmax(-1) == gold).float()
        seen = {
            "reliability": float(losses[:count].mean().detach()),
            "generality": float(losses[count:].mean().detach()),
            "tokens_right": float(right.mean()),
        }
        return losses.mean(), seen

    def joint(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """The paper's total loss: editing loss with mixed experts (Eq. 8) and routing loss (Eq. 12)."""
        count = len(batch.pairs.contents)
        everything = torch.arange(4 * count, device=batch.ids.device)
        states = self.everything(batch)
        hidden = states.hidden.float()
        U, V = self.experts(batch, hidden)
        phi, psi = self.modules.encode_edit(hidden, batch.vision, batch.prompt)
        query = self.modules.encode_query(hidden, batch.vision, batch.prompt)
        # Routing compares similarities that differ by little: they are formed in float32.
        with torch.autocast(hidden.device.type, enabled=False):
            phi, psi = phi.float(), psi.float()
            asked = query.prompt.float()
            routing, seen = routing_losses(
                self.config,
                self.memory,
                batch.pairs,
                phi,
                psi,
                query.visual.float(),
                query.threshold.float(),
                asked,
                rng,
            )
            mixed = self.mixing(batch, rng)
            _, _, weight = soft_weights(similarity(asked, psi[:count]), mixed)
        edited = self.modules.residual(hidden, U, V, weight)
        logits, gold, number = self.logits(batch, states, edited, everything, everything, self.config.layer_twice)
        losses = answer_loss(logits, gold, number, 4 * count)
        local = number >= 3 * count
        with torch.no_grad():
            places = everything[3 * count :]
            before, _, _ = self.logits(batch, states, hidden[places], places, places)
        drift = mean_by_row(
            locality_loss(before, logits[local], self.config.locality_direction), number[local] - 3 * count, count
        )
        editing = losses[:count].mean() + losses[count : 2 * count].mean() + losses[2 * count : 3 * count].mean()
        right = (logits.argmax(-1) == gold).float()[~local]
        seen |= {
            "reliability": float(losses[:count].mean().detach()),
            "text_generality": float(losses[count : 2 * count].mean().detach()),
            "image_generality": float(losses[2 * count : 3 * count].mean().detach()),
            "locality": float(drift.mean().detach()),
            "tokens_right": float(right.mean()),
        }
        return editing + drift.mean() + routing, seen

    def mixing(self, batch: EditorBatch, rng: random.Random) -> torch.Tensor:
        """Bool [4B, B]: the experts that each row is fused with.

        A random part of the batch; an edit's own rows always keep its expert. Others whose prompts mean the
        same are left out: telling those apart is the work of the hard filter, not of the prompt weights.
        """
        count, device = len(batch.pairs.contents), batch.ids.device
        keep = torch.tensor([rng.random() for _ in range(4 * count)])[:, None]
        chosen = (torch.tensor([[rng.random() for _ in range(count)] for _ in range(4 * count)]) < keep).to(device)
        meanings = batch.pairs.same_meaning[:, :count]
        chosen &= ~torch.cat([meanings[:count]] * 3 + [meanings[count:]])
        own = torch.eye(count, dtype=torch.bool, device=device)
        # Of a look-alike picture the hard filter is to stop the edit: the fused residual seldom has to.
        kept = torch.tensor([rng.random() for _ in range(count)], device=device)[:, None]
        chance = torch.where(
            batch.pairs.locality_kind == SAME_PICTURE,
            0.8,
            torch.where(batch.pairs.locality_kind == NEAR_MISS, 0.15, 0.3),
        )
        local = (chosen[3 * count :] & ~own) | (own & (kept < chance[:, None]))
        return torch.cat([chosen[: 3 * count] | torch.cat([own] * 3), local])

    def routing(self, cache: StateCache, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """The routing loss alone, on cached states of a large batch."""
        chosen = rng.sample(range(len(cache)), min(self.config.routing_batch, len(cache)))
        pairs, vision, seen, prompt, mask = cache.batch(chosen, self.backbone.device)
        # Each side meets one of an edit's two pictures, so features are made of those rows only; and the parts are
        # given apart: no attention reads the other part's tokens, so none computes their keys.
        count, device = len(chosen), vision.device
        edit_rows, query_rows = (rows.to(device) for rows in stand_ins(count, 2, rng))
        local = torch.arange(count, device=device) + 2 * count
        edit, query = self.modules.edit_features, self.modules.query_features

        def shown(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
            return vision[rows], None if seen is None else seen[rows]

        phi = edit.visual(edit.attention_queries(prompt[edit_rows], mask[edit_rows]), *shown(edit_rows))
        rows = torch.cat([edit_rows, local])
        psi = edit.meaning(prompt[rows], mask[rows])
        rows = torch.cat([query_rows, local])
        asked = query.attention_queries(prompt[rows], mask[rows])
        visual, threshold = query.visual(asked, *shown(rows)), query.threshold_feature(asked)
        meaning = query.meaning(prompt[rows], mask[rows])
        with torch.autocast(device.type, enabled=False):
            features = (phi.float(), psi.float(), visual.float(), threshold.float(), meaning.float())
            return routing_losses(self.config, self.memory, pairs, *features, rng)
