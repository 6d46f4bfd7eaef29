"""RECIPE: retrieval-augmented continuous prompt learning, adapted to pictures.

Chen et al., EMNLP 2024, https://arxiv.org/abs/2405.03279. Each edit becomes a continuous prompt of a few vectors,
which stands before the words of the questions that are about it. A question finds its edit by learned keys; the
similarity to a learned knowledge sentinel is its threshold. Edits and questions are represented by the backbone's own
states of picture and words; a question's hold no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liveedit.backbones import Backbone, EncodedBatch
from liveedit.configs.recipe import RecipeConfig
from liveedit.editors.context import SoftPass
from liveedit.editors.folder import damaged, fingerprint_of, load_folder, save_folder
from liveedit.editors.memory import EditMemory, MemoryEditor
from liveedit.editors.pooled import check_layer, extremes_over, layer_states, mean_over
from liveedit.types import Edit, Query, RoutingTrace

NAME = "recipe"
POOLED = 4  # mean over the picture; mean, maximum and minimum over words


class Encoder(nn.Module):
    """A linear map beside a perceptron with one hidden layer: [B, inputs] to [B, outputs]."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.direct = nn.Linear(inputs, outputs)
        self.first, self.second = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of both."""
        return self.direct(x) + self.second(nn.functional.gelu(self.first(x)))


class RecipeModules(nn.Module):
    """RECIPE's encoders for a backbone of width d.

    Representations are pooled states [B, 4d] (picture: mean; words: mean, maximum, minimum), standardised. ``scale``
    is the typical size of a number in the backbone's input embeddings, at which continuous prompts begin.
    """

    def __init__(self, config: RecipeConfig, d: int, scale: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.standard_question = nn.BatchNorm1d(POOLED * d, affine=False, momentum=None)
        self.standard_edit = nn.BatchNorm1d(POOLED * d, affine=False, momentum=None)
        reads = (POOLED + config.ordered_tokens) * d
        self.prompt = Encoder(reads, config.width, config.soft_tokens * d)
        self._start_as_answers(d)
        self.key = Encoder(POOLED * d, config.width, config.key_width)
        self.query = Encoder(POOLED * d, config.width, config.key_width)
        # A question and its edit are alike from the start, and the sentinel is as far as chance.
        self.query.load_state_dict(self.key.state_dict())
        self.sentinel = nn.Parameter(torch.randn(POOLED * d) * 0.3)
        self.sharpness = nn.Parameter(torch.tensor(12.0))
        self.scale = nn.Parameter(torch.tensor(scale))

    @torch.no_grad()
    def _start_as_answers(self, d: int) -> None:
        """Where answers are read token by token, the n vectors begin as the embeddings of their first n tokens."""
        if not self.config.ordered_tokens:
            return
        weight, count = self.prompt.direct.weight.zero_(), min(self.config.soft_tokens, self.config.ordered_tokens)
        self.prompt.direct.bias.zero_()
        self.prompt.second.weight.mul_(0.02)
        self.prompt.second.bias.zero_()
        for place in range(count):
            begin = (POOLED + place) * d
            weight[place * d : (place + 1) * d, begin : begin + d] = torch.eye(d)

    def keys(self, question: torch.Tensor) -> torch.Tensor:
        """Keys [B, key_width] of unit length, from representations [B, 4d] of edits' pictures and prompts."""
        return nn.functional.normalize(self.key(self.standard_question(question)).float(), dim=-1)

    def queries(self, question: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries [B, key_width] of unit length and their similarity [B] to the sentinel: each question's threshold."""
        asked = nn.functional.normalize(self.query(self.standard_question(question)).float(), dim=-1)
        sentinel = nn.functional.normalize(self.key(self.sentinel[None]).float(), dim=-1)
        return asked, self.similarity(asked, sentinel)[:, 0]

    def similarity(self, asked: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Similarities [Q, N] of queries and keys."""
        return self.sharpness * (asked @ keys.T)

    def soft_prompts(self, edit: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Continuous prompts [B, n, d] from representations [B, 4d] and the answers' embeddings [B, J * d]."""
        read = torch.cat([self.standard_edit(edit), tokens / self.scale.detach().abs().clamp(min=1e-6)], 1)
        made = self.prompt(read).float()
        return self.scale * made.view(len(made), self.config.soft_tokens, -1)


def question_representation(hidden: torch.Tensor, vision: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """[B, 4d] of a picture and a prompt, from layer states [B, T, d]; an answer in the row is not looked at."""
    return torch.cat([mean_over(hidden, vision), mean_over(hidden, prompt), extremes_over(hidden, prompt)], 1)


def edit_representation(
    hidden: torch.Tensor, vision: torch.Tensor, prompt: torch.Tensor, answer: torch.Tensor
) -> torch.Tensor:
    """[B, 4d] of a picture, a prompt and an answer."""
    words = prompt | answer
    return torch.cat([mean_over(hidden, vision), mean_over(hidden, words), extremes_over(hidden, words)], 1)


def ordered_answers(backbone: Backbone, batch: EncodedBatch, count: int) -> torch.Tensor:
    """Input embeddings [B, count * d] of each answer's first ``count`` tokens, stop token excluded; zeros behind them."""
    ids = torch.zeros(len(batch.spans), count, dtype=torch.long, device=batch.input_ids.device)
    known = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
    for row, (spans, offset) in enumerate(zip(batch.spans, batch.offsets, strict=True)):
        answer = batch.input_ids[row, spans.answer[0] + offset : spans.answer[1] + offset]
        answer = answer[answer != backbone.eos_id][:count]
        ids[row, : len(answer)], known[row, : len(answer)] = answer, True
    return (backbone.embed(ids).float() * known[..., None]).flatten(1)


def new_modules(backbone: Backbone, config: RecipeConfig) -> RecipeModules:
    """Untrained modules for a backbone."""
    table = backbone.model.get_input_embeddings().weight
    return RecipeModules(config, backbone.hidden_size, float(table.float().pow(2).mean().sqrt()))


class Recipe(MemoryEditor):
    """RECIPE over a frozen backbone."""

    def __init__(self, backbone: Backbone, config: RecipeConfig, modules: RecipeModules | None = None) -> None:
        super().__init__(backbone)
        check_layer(backbone, config.layer)
        self.config = replace(config, backbone=backbone.fingerprint)
        self.modules = (modules or new_modules(backbone, config)).to(backbone.device).float().eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, /) -> Recipe:
        """Load a trained editor from a folder."""
        config, tensors = load_folder(path, NAME, RecipeConfig, backbone)
        modules = new_modules(backbone, config)
        try:
            modules.load_state_dict(tensors)
        except RuntimeError as error:
            raise damaged(path, error) from error
        return cls(backbone, config, modules)

    def save_pretrained(self, path: str | Path) -> None:
        """Write configuration and weights to a folder."""
        save_folder(path, NAME, self.config, self.modules.state_dict())

    @property
    def fingerprint(self) -> str:
        """A short name of the configuration and the trained weights."""
        return fingerprint_of(NAME, self.config, self.modules.state_dict())

    def remember(
        self, edits: Sequence[Edit], template: bool
    ) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """Keys and continuous prompts."""
        answers = [[*self.backbone.answer_ids(e.target, template), self.backbone.eos_id] for e in edits]
        batch = self.backbone.encode([e.image for e in edits], [e.prompt for e in edits], answers, template)
        hidden = layer_states(self.backbone, self.config.layer, batch)
        vision, prompt, answer = (batch.part(name) for name in ("vision", "prompt", "answer"))
        tokens = ordered_answers(self.backbone, batch, self.config.ordered_tokens)
        soft = self.modules.soft_prompts(edit_representation(hidden, vision, prompt, answer), tokens)
        keys = self.modules.keys(question_representation(hidden, vision, prompt))
        notes = [{"prompt": e.prompt, "target": e.target} for e in edits]
        return notes, {"keys": keys, "soft": soft}

    def compare(
        self, state: EditMemory, queries: Sequence[Query], template: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries against keys, and against the sentinel; they are made of picture and prompt alone."""
        batch = self.backbone.encode([q.image for q in queries], [q.prompt for q in queries], None, template)
        hidden = layer_states(self.backbone, self.config.layer, batch)
        represented = question_representation(hidden, batch.part("vision"), batch.part("prompt"))
        asked, threshold = self.modules.queries(represented)
        return self.modules.similarity(asked, state.tensors["keys"]), threshold

    def in_scope(
        self,
        state: EditMemory,
        rows: Sequence[int],
        queries: Sequence[Query],
        found: Sequence[Sequence[int]],
        traces: Sequence[RoutingTrace],
    ) -> SoftPass:
        """Each question behind the continuous prompt of its edit."""
        return SoftPass(rows, self.backbone, queries, traces, state.tensors["soft"][[i for i, in found]])
