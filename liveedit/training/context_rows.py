"""Rows of a training batch with something put before their words, run through the whole language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from liveedit.backbones import Backbone, EncodedBatch
from liveedit.backbones.batch import PictureInputs
from liveedit.backbones.split import seen_pictures
from liveedit.editors.context import insert, place, starts_of
from liveedit.editors.pooled import scope_loss
from liveedit.hooks import replace_output
from liveedit.training.editor_samples import NEAR_MISS, EditorBatch, Pairs


@dataclass
class Rows:
    """Encoded rows without their pictures, the distinct ``pictures``, and ``which`` of them each row shows."""

    encoded: EncodedBatch
    pictures: PictureInputs
    which: list[int]

    def with_prefixes(self, backbone: Backbone, prefixes: Sequence[Sequence[int]]) -> Rows:
        """The rows with token ids before their words."""
        return Rows(insert(backbone, self.encoded, prefixes), self.pictures, self.which)

    def picked(self, backbone: Backbone, rows: Sequence[int]) -> Rows:
        """Some of the rows."""
        e = self.encoded
        ids = [e.input_ids[row, e.offsets[row] :].tolist() for row in rows]
        ends = [e.spans[row].answer[0] for row in rows]
        prompts = [row[:end] for row, end in zip(ids, ends, strict=True)]
        answers = [row[end:] for row, end in zip(ids, ends, strict=True)]
        shown = sorted({self.which[row] for row in rows})
        which = [shown.index(self.which[row]) for row in rows]
        return Rows(backbone.collate(prompts, answers, None), self.pictures.select(shown), which)


def rows_of(backbone: Backbone, batch: EditorBatch, rows: Sequence[int]) -> Rows:
    """Some rows of a batch; their answers end with the stop token."""
    prompts, answers = [], []
    for row in rows:
        real, answer = batch.mask[row].bool(), batch.answer[row]
        prompts.append(batch.ids[row][real & ~answer].tolist())
        answers.append(batch.ids[row][answer].tolist())
    shown = [int(batch.which[row]) for row in rows]
    distinct = sorted(set(shown))
    pictures = batch.pictures.select(distinct).to(backbone.device, backbone.model.dtype)
    return Rows(backbone.collate(prompts, answers, None), pictures, [distinct.index(picture) for picture in shown])


def text_rows(
    backbone: Backbone, batch: EditorBatch, rows: Sequence[int], answers: bool = False
) -> EncodedBatch:
    """The prompts of some rows without their pictures, and without their answers unless these are asked for."""
    kept = batch.mask.bool() & ~batch.vision & ~batch.answer
    prompts = [batch.ids[row][kept[row]].tolist() for row in rows]
    said = [batch.ids[row][batch.answer[row]].tolist() if answers else [] for row in rows]
    return backbone.collate(prompts, said, None)


def answer_logits(
    backbone: Backbone, rows: Rows, soft: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits [N, vocabulary], gold ids [N] and row numbers [N] of all answer tokens, the stop tokens included.

    ``soft`` [R, n, d] stands where each row's words begin.
    """
    encoded = rows.encoded
    ids, mask = encoded.input_ids, encoded.attention_mask
    with torch.no_grad():
        seen = seen_pictures(backbone, ids, rows.pictures, rows.which)
    starts = starts_of(backbone, encoded)
    with replace_output(
        backbone.model.get_input_embeddings(), lambda given: given if soft is None else place(given, starts, soft)
    ):
        output = backbone.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=backbone.positions(ids, mask, rows.pictures, rows.which),
            **backbone.types_of(ids),
            pixel_values=None,
            mm_encoder_outputs={"image": seen},
            use_cache=False,
            **last_logits(backbone, encoded),
        )
    return gold_logits(output.logits, encoded)


def text_logits(backbone: Backbone, encoded: EncodedBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same of rows without pictures."""
    output = backbone.forward(encoded, use_cache=False, **last_logits(backbone, encoded))
    return gold_logits(output.logits, encoded)


def last_logits(backbone: Backbone, encoded: EncodedBatch) -> dict[str, int]:
    """Leaves out the logits of all positions but those of the answers, where the model can."""
    if "logits_to_keep" not in backbone.accepted:
        return {}
    return {"logits_to_keep": _longest_answer(encoded) + 1}


def gold_logits(
    logits: torch.Tensor, encoded: EncodedBatch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """From the logits [R, .., vocabulary] of rows those of the answers, with gold ids and row numbers."""
    longest = _longest_answer(encoded)
    logits = logits[:, -longest - 1 : -1]
    answers = encoded.part("answer")[:, -longest:]
    gold = encoded.input_ids[:, -longest:]
    number = torch.arange(len(gold), device=gold.device)[:, None].expand_as(gold)
    return logits[answers].float(), gold[answers], number[answers]


def _longest_answer(encoded: EncodedBatch) -> int:
    return max(end - start for start, end in (spans.answer for spans in encoded.spans))


def text_scope_loss(
    similarity: torch.Tensor, threshold: torch.Tensor, pairs: Pairs
) -> tuple[torch.Tensor, dict[str, float]]:
    """The scope loss of editors that read text alone, a scalar, and figures for the curve.

    ``similarity`` [2B, B] of rewordings (first B) and of locality questions to the edits' prompts. Prompts of one
    meaning belong together and all others do not; a locality question that means what some edit asks is in its
    scope as far as text can tell, and is left out.
    """
    count = len(pairs.contents)
    diagonal = torch.eye(count, dtype=torch.bool, device=similarity.device)
    own = torch.cat([diagonal, torch.zeros_like(diagonal)])
    rivals = ~pairs.same_meaning[:, :count] & ~own
    losses = scope_loss(similarity, threshold.expand(2 * count), own, rivals)
    strange = rivals[count:].all(1)
    counted = torch.cat([torch.ones_like(strange), strange])
    alone = (similarity.amax(1) <= threshold)[count:][strange].float()
    return losses[counted].mean(), {
        "retrieval": float(losses[counted].mean().detach()),
        "found": float((similarity[:count].diagonal() > threshold).float().mean()),
        "left_alone": float(alone.mean()) if len(alone) else 1.0,
    }


def scopes(pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """Bool [2B, B] each: which edit a question is about, and which it is certainly not about.

    The first B questions are about their edits, the last B about none. An edit whose picture shows the same things
    and whose prompt means the same is neither, unless the question was made as the edit's near miss.
    """
    count = len(pairs.contents)
    diagonal = torch.eye(count, dtype=torch.bool, device=pairs.related.device)
    own = torch.cat([diagonal, torch.zeros_like(diagonal)])
    alike = pairs.related & pairs.same_meaning[:, :count]
    near = torch.cat([torch.zeros_like(diagonal), torch.diag(pairs.locality_kind == NEAR_MISS)])
    return own, (~alike | near) & ~own
