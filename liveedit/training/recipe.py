"""Training of RECIPE (Chen et al., EMNLP 2024, https://arxiv.org/abs/2405.03279, Section 4.3).

The prompt's encoder learns with every edit's own prompt before it: to say the new answer where the edit is asked
about, and what the unedited model says elsewhere. The retriever learns with contrastive losses against the batch's
other edits and the sentinel.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from liveedit.backbones import Backbone
from liveedit.backbones.split import SplitForward
from liveedit.configs.recipe import RecipeConfig, RecipeTrainingConfig
from liveedit.editors.pooled import scope_loss
from liveedit.editors.recipe import Recipe, edit_representation, new_modules, ordered_answers, question_representation
from liveedit.losses import answer_loss, locality_loss, mean_by_row
from liveedit.training.baselines import Trainee
from liveedit.training.context_rows import Rows, answer_logits, rows_of, scopes
from liveedit.training.editor_samples import EditorBatch, Pairs


class RecipeTrainee(Trainee):
    """RECIPE in training."""

    def __init__(self, backbone: Backbone, config: RecipeConfig, training: RecipeTrainingConfig) -> None:
        self.backbone, self.config, self.training = backbone, config, training
        self.recipe = new_modules(backbone, config)
        self.split = SplitForward(backbone, config.layer)
        super().__init__(self.recipe, training.seed)

    def states(self, rows: Rows) -> torch.Tensor:
        """Layer states [R, T, d] of rows, in float32."""
        e = rows.encoded
        return self.split.lower(e.input_ids, e.attention_mask, rows.pictures, rows.which).hidden.float()

    def loss(self, batch: EditorBatch, rng: random.Random) -> tuple[torch.Tensor, dict[str, float]]:
        """Each edit is asked about in one of its three ways, and half of them are met by what they should leave alone."""
        count = len(batch.pairs.contents)
        asked = [kind * count + i for i, kind in enumerate(rng.choices((0, 1, 2), (0.4, 0.3, 0.3), k=count))]
        elsewhere = [3 * count + i for i in range(count)]
        rows = rows_of(self.backbone, batch, [*range(count), *asked, *elsewhere])
        hidden, encoded = self.states(rows), rows.encoded
        vision, prompt, answer = (encoded.part(name) for name in ("vision", "prompt", "answer"))
        edits = slice(0, count)
        edit = edit_representation(hidden[edits], vision[edits], prompt[edits], answer[edits])
        tokens = ordered_answers(self.backbone, encoded, self.config.ordered_tokens)[edits]
        soft = self.recipe.soft_prompts(edit, tokens)
        editing, seen = self.editing(rows, soft, rng.sample(range(count), count // 2))
        found, also = self.retrieval(question_representation(hidden, vision, prompt), batch.pairs)
        return editing + found, seen | also

    def editing(
        self, rows: Rows, soft: torch.Tensor, local: list[int]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Reliability, generality and locality with each edit's own prompt; ``local`` edits meet their locality row."""
        count, backbone = len(soft), self.backbone
        places = [[backbone.pad_id] * soft.shape[1]]
        plain = rows.picked(backbone, [*range(count, 2 * count), *(2 * count + i for i in local)])
        own = torch.cat([soft, soft[local]])
        logits, gold, number = answer_logits(backbone, plain.with_prefixes(backbone, places * len(own)), own)
        losses = answer_loss(logits, gold, number, len(own))[:count]
        with torch.no_grad():
            before, _, _ = answer_logits(backbone, plain.picked(backbone, range(count, len(own))))
        outside = number >= count
        drift = mean_by_row(locality_loss(before, logits[outside]), number[outside] - count, len(local))
        right = (logits.argmax(-1) == gold)[~outside].float()
        seen = {
            "editing": float(losses.mean().detach()),
            "locality": float(drift.mean().detach()),
            "tokens_right": float(right.mean()),
        }
        return losses.mean() + self.training.locality_weight * drift.mean(), seen

    def retrieval(self, questions: torch.Tensor, pairs: Pairs) -> tuple[torch.Tensor, dict[str, float]]:
        """Questions [3B, 4d] of edits, of what is asked about them and of what is asked elsewhere."""
        count = len(questions) // 3
        with torch.autocast(questions.device.type, enabled=False):
            keys = self.recipe.keys(questions[:count])
            asked, threshold = self.recipe.queries(questions[count:])
            similarity = self.recipe.similarity(asked, keys)
        own, rivals = scopes(pairs)
        losses = scope_loss(similarity, threshold, own, rivals)
        best = similarity.argmax(1)
        inside = similarity.amax(1) > threshold
        right = torch.where(own.any(1), inside & own.gather(1, best[:, None])[:, 0], ~inside).float()
        seen = {
            "retrieval": float(losses.mean().detach()),
            "found": float(right[:count].mean()),
            "left_alone": float(right[count:].mean()),
        }
        return losses.mean(), seen

    def save(self, out: Path) -> None:
        """Write the trained editor."""
        Recipe(self.backbone, self.config, self.recipe).save_pretrained(out)


def build(backbone: Backbone, architecture: RecipeConfig, training: RecipeTrainingConfig) -> RecipeTrainee:
    """RECIPE, untrained."""
    return RecipeTrainee(backbone, architecture, training)
