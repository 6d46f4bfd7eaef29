"""Training of SERAC's two models (Mitchell et al., ICML 2022, https://arxiv.org/abs/2206.06520, Section 3)."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from liveedit.backbones import Backbone
from liveedit.configs import BaselineTrainingConfig
from liveedit.configs.serac import SeracConfig
from liveedit.editors.context import insert
from liveedit.editors.serac import Serac, prefix_of
from liveedit.losses import answer_loss
from liveedit.training.baselines import Trainee
from liveedit.training.context_rows import text_logits, text_rows, text_scope_loss
from liveedit.training.editor_samples import EditorBatch


class SeracTrainee(Trainee):
    """SERAC in training; it never looks at a picture."""

    pictures = False

    def __init__(self, backbone: Backbone, config: SeracConfig, training: BaselineTrainingConfig) -> None:
        self.editor, self.backbone = Serac(backbone, config), backbone
        super().__init__(self.editor.modules, training.seed)

    def loss(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """The counterfactual model is asked in an edit's words or in others; the classifier compares all texts."""
        count = len(batch.pairs.contents)
        asked = text_rows(self.backbone, batch, [rng.randrange(2) * count + i for i in range(count)], answers=True)
        prefixes = [self.prefix(batch, i) for i in range(count)]
        logits, gold, number = text_logits(self.editor.counterfactual, insert(self.backbone, asked, prefixes))
        losses = answer_loss(logits, gold, number, count)
        texts = text_rows(self.backbone, batch, [*range(2 * count), *range(3 * count, 4 * count)])
        scope = self.editor.modules.scope
        vectors = scope.vectors(texts)
        with torch.autocast(vectors.device.type, enabled=False):
            similarity = scope.similarity(vectors[count:].float(), vectors[:count].float())
        found, seen = text_scope_loss(similarity, scope.threshold, batch.pairs)
        right = (logits.argmax(-1) == gold).float()
        return losses.mean() + found, {
            "editing": float(losses.mean().detach()),
            "tokens_right": float(right.mean()),
            **seen,
        }

    def prefix(self, batch: EditorBatch, edit: int) -> list[int]:
        """An edit's prefix, from its row of the batch; the stop token is left out."""
        prompt, answer = (batch.ids[edit][part[edit]].tolist() for part in (batch.prompt, batch.answer))
        return prefix_of(self.backbone, self.editor.config, prompt, answer[:-1])

    def save(self, out: Path) -> None:
        """Write the trained editor."""
        self.editor.save_pretrained(out)


def build(backbone: Backbone, architecture: SeracConfig, training: BaselineTrainingConfig) -> SeracTrainee:
    """SERAC, untrained."""
    return SeracTrainee(backbone, architecture, training)
