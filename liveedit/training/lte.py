"""Training of LTE's alignment phase (Jiang et al., ACL 2024, https://arxiv.org/abs/2402.11905, Section 3.1).

In scope, the tuned model shall say the new answer behind the edit's prefix; out of scope, behind a prefix that is
about something else, it shall say what the original model says without one. Where several edits are retrieved, others stand
beside an edit at random.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from liveedit.backbones import Backbone
from liveedit.configs import BaselineTrainingConfig
from liveedit.configs.lte import LteConfig
from liveedit.editors.lte import Lte, joined, new_modules, prefix_of
from liveedit.losses import answer_loss, locality_loss, mean_by_row
from liveedit.training.baselines import Trainee
from liveedit.training.context_rows import answer_logits, rows_of, text_rows, text_scope_loss
from liveedit.training.editor_samples import NEAR_MISS, EditorBatch


class LteTrainee(Trainee):
    """LTE in training."""

    def __init__(self, backbone: Backbone, config: LteConfig, training: BaselineTrainingConfig) -> None:
        self.backbone, self.config = backbone, config
        self.tuned, self.lte = new_modules(backbone, config)
        super().__init__(self.lte, training.seed)

    def loss(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """Each edit is asked about in one of its three ways; half of the edits meet what they should leave alone."""
        count = len(batch.pairs.contents)
        # A near miss asks the edit's own question of another picture: to an editor that reads text it is in scope.
        outside = [i for i in range(count) if batch.pairs.locality_kind[i] != NEAR_MISS]
        local = rng.sample(outside, min(len(outside), count // 2))
        asked = [kind * count + i for i, kind in enumerate(rng.choices((0, 1, 2), (0.4, 0.3, 0.3), k=count))]
        plain = rows_of(self.backbone, batch, [*asked, *(3 * count + i for i in local)])
        prefixes = [self.context(batch, i, i, rng) for i in range(count)]
        prefixes += [self.context(batch, i, count + i, rng) for i in local]
        logits, gold, number = answer_logits(self.tuned, plain.with_prefixes(self.backbone, prefixes))
        losses = answer_loss(logits, gold, number, len(prefixes))[:count]
        right = (logits.argmax(-1) == gold)[number < count].float()
        seen = {"editing": float(losses.mean().detach()), "tokens_right": float(right.mean())}
        total = losses.mean()
        if local:
            with torch.no_grad():
                before, _, _ = answer_logits(self.backbone, plain.picked(self.backbone, range(count, len(prefixes))))
            drift = mean_by_row(
                locality_loss(before, logits[number >= count]), number[number >= count] - count, len(local)
            )
            total, seen["locality"] = total + drift.mean(), float(drift.mean().detach())
        found, also = self.retrieval(batch)
        return total + found, seen | also

    def context(self, batch: EditorBatch, edit: int, question: int, rng: random.Random) -> list[int]:
        """The prefix of an edit before a question (of 2B: the edits', then the locality questions).

        Where several edits are retrieved, it holds some others in any order, none of them in the question's words.
        """
        shown = [edit]
        if self.config.retrieved > 1:
            alike = batch.pairs.same_meaning[question].tolist()
            others = [i for i in range(len(batch.pairs.contents)) if i != edit and not alike[i]]
            shown += rng.sample(others, min(len(others), rng.randrange(self.config.retrieved)))
            rng.shuffle(shown)
        return joined(self.backbone, self.config, [self.prefix(batch, i) for i in shown])

    def prefix(self, batch: EditorBatch, edit: int) -> list[int]:
        """An edit's prefix, from its row of the batch; the stop token is left out."""
        prompt, answer = (batch.ids[edit][part[edit]].tolist() for part in (batch.prompt, batch.answer))
        return prefix_of(self.backbone, self.config, prompt, answer[:-1])

    def retrieval(self, batch: EditorBatch) -> tuple[torch.Tensor, dict[str, float]]:
        """Rewordings against prompts: those of the same meaning belong together, all others do not."""
        count = len(batch.pairs.contents)
        texts = text_rows(self.backbone, batch, [*range(2 * count), *range(3 * count, 4 * count)])
        retriever = self.lte.retriever
        vectors = retriever.vectors(texts)
        with torch.autocast(vectors.device.type, enabled=False):
            similarity = retriever.similarity(vectors[count:].float(), vectors[:count].float())
        return text_scope_loss(similarity, retriever.threshold, batch.pairs)

    def save(self, out: Path) -> None:
        """Write the trained editor."""
        Lte(self.backbone, self.config, (self.tuned, self.lte)).save_pretrained(out)


def build(backbone: Backbone, architecture: LteConfig, training: BaselineTrainingConfig) -> LteTrainee:
    """LTE, untrained."""
    return LteTrainee(backbone, architecture, training)
