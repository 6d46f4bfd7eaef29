"""SERAC: semi-parametric editing with a retrieval-augmented counterfactual model.

Mitchell et al., ICML 2022, https://arxiv.org/abs/2206.06520. Edits are kept in a memory. A scope classifier compares
a question with their prompts; one that is in scope is answered by a small counterfactual model, which reads the edit
and the question, all others by the original model. Both small models read text and no picture, as in the original.
They are trained here, over the backbone's token embeddings, in place of BERT and OPT-125M: the classifier from scratch,
the counterfactual model from scratch or from a copy of the language model's first layers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from liveedit.backbones import Backbone
from liveedit.backbones.base import decoder_of
from liveedit.configs.serac import SeracConfig
from liveedit.editors.context import PrefixedPass, read_texts
from liveedit.editors.folder import damaged, fingerprint_of, load_folder, save_folder
from liveedit.editors.memory import EditMemory, MemoryEditor
from liveedit.editors.pooled import encode_texts
from liveedit.editors.text_scope import POSITIONS, Reads, TextScope
from liveedit.types import Edit, Query, RoutingTrace

NAME = "serac"


class Says(nn.Module):
    """States of a width to the backbone's frozen head, which is no part of this module."""

    def __init__(self, backbone: Backbone, width: int) -> None:
        super().__init__()
        self._head = (backbone.head,)
        self.linear = nn.Linear(width, backbone.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits over the backbone's vocabulary."""
        head = self._head[0]
        return head(self.linear(hidden).to(head.weight.dtype))


class SharedReads(nn.Module):
    """The backbone's frozen token embeddings, which are no part of this module, plus a learned offset."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = (backbone,)
        self.offset = nn.Parameter(torch.zeros(backbone.hidden_size))

    @property
    def weight(self) -> torch.Tensor:
        """What transformers and the adapter ask an embedding for."""
        return self._backbone[0].model.get_input_embeddings().weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids to input embeddings."""
        return self._backbone[0].embed(ids).to(self.offset.dtype) + self.offset


class SharedHead(nn.Module):
    """The backbone's frozen head, which is no part of this module."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._head = (backbone.head,)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits over the backbone's vocabulary."""
        head = self._head[0]
        return head(hidden.to(next(head.parameters()).dtype))


class Speaker(PreTrainedModel, GenerationMixin):
    """A decoder with the backbone's embeddings and head, as a causal language model.

    transformers has no such class for every vision-language model's decoder.
    """

    base_model_prefix = "model"
    # Whatever attention the decoder computes with was settled when it was made.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, decoder: Any, backbone: Backbone) -> None:
        super().__init__(decoder.config)
        self.model, self.lm_head = decoder, SharedHead(backbone)
        self.set_input_embeddings(SharedReads(backbone))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Token ids [B, T] to logits [B, .., vocabulary], of the last ``logits_to_keep`` positions alone (0: of all)."""
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **options,
        )
        logits = self.lm_head(output.last_hidden_state[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, past_key_values=output.past_key_values)


def counterfactual_model(backbone: Backbone, config: SeracConfig) -> Any:
    """A small causal transformer that speaks with the backbone's vocabulary, embeddings and head."""
    config.check_depth(len(backbone.layers))
    return _fresh_model(backbone, config) if config.answer_width else _begun_model(backbone, config.answer_layers)


def _begun_model(backbone: Backbone, layers: int) -> Any:
    """A copy of the language model's first layers: trained already, as the original's counterfactual model was."""
    settings = copy.deepcopy(backbone.config.get_text_config())
    settings.num_hidden_layers, settings.tie_word_embeddings = layers, False
    if getattr(settings, "layer_types", None):
        settings.layer_types = settings.layer_types[:layers]
    decoder = type(backbone.decoder)(settings).float()
    given = {name: value for name, value in backbone.decoder.state_dict().items() if "embed_tokens" not in name}
    wanted = decoder.state_dict()
    decoder.load_state_dict({name: value.float() for name, value in given.items() if name in wanted}, strict=False)
    model = Speaker(decoder, backbone)
    model.generation_config.pad_token_id = backbone.pad_id
    return model


def _fresh_model(backbone: Backbone, config: SeracConfig) -> Any:
    """A model that has learned nothing yet."""
    width = config.answer_width
    model = LlamaForCausalLM(
        LlamaConfig(
            # The embeddings and the head are exchanged below, so the vocabulary's size costs nothing.
            vocab_size=8,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=config.answer_layers,
            num_attention_heads=width // config.head_width,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=backbone.eos_id,
            pad_token_id=None,
        )
    )
    model.model.embed_tokens = Reads(backbone, width)
    model.lm_head = Says(backbone, width)
    model.config.vocab_size = int(backbone.model.get_input_embeddings().weight.shape[0])
    if width == backbone.hidden_size:
        # Copying a token is then to pass its embedding on.
        for linear in (model.model.embed_tokens.linear, model.lm_head.linear):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
    return model


def as_backbone(backbone: Backbone, model: Any) -> Backbone:
    """The counterfactual model in the backbone's place: the same tokens, no pictures."""
    small = copy.copy(backbone)
    small.model, small.decoder = model, decoder_of(model)
    small.layers, small.token_types = small.decoder.layers, ()
    return small


class SeracModules(nn.Module):
    """Both models."""

    def __init__(self, backbone: Backbone, config: SeracConfig) -> None:
        super().__init__()
        self.scope = TextScope(backbone, config.scope_width, config.scope_layers, config.head_width)
        self.counterfactual = counterfactual_model(backbone, config)


def prefix_of(backbone: Backbone, config: SeracConfig, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
    """The tokens of an edit before a question, as the counterfactual model reads them."""
    between = backbone.tokenizer(config.between, add_special_tokens=False)["input_ids"]
    return [*prompt, *answer, *(int(i) for i in between)]


class Serac(MemoryEditor):
    """SERAC over a frozen backbone."""

    def __init__(self, backbone: Backbone, config: SeracConfig, modules: SeracModules | None = None) -> None:
        super().__init__(backbone)
        self.config = replace(config, backbone=backbone.fingerprint)
        self.modules = (modules or SeracModules(backbone, config)).to(backbone.device).float()
        self.modules.eval().requires_grad_(False)
        self.counterfactual = as_backbone(backbone, self.modules.counterfactual)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, /) -> Serac:
        """Load a trained editor from a folder."""
        config, tensors = load_folder(path, NAME, SeracConfig, backbone)
        modules = SeracModules(backbone, config)
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

    def remember(self, edits: Sequence[Edit], template: bool) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
        """Each edit's tokens, and the classifier's vector of its prompt."""
        answers = [self.backbone.answer_ids(e.target, template) for e in edits]
        batch = self.backbone.encode([None] * len(edits), [e.prompt for e in edits], answers, template)
        notes = [
            {"prompt": e.prompt, "target": e.target, "prefix": prefix_of(self.backbone, self.config, prompt, answer)}
            for e, (prompt, answer) in zip(edits, read_texts(batch), strict=True)
        ]
        return notes, {"keys": self.modules.scope.vectors(encode_texts(self.backbone, [e.prompt for e in edits], template))}

    def compare(
        self, state: EditMemory, queries: Sequence[Query], template: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The question's text against the edits'."""
        scope = self.modules.scope
        asked = scope.vectors(encode_texts(self.backbone, [q.prompt for q in queries], template))
        return scope.similarity(asked, state.tensors["keys"]), scope.threshold.expand(len(queries))

    def in_scope(
        self,
        state: EditMemory,
        rows: Sequence[int],
        queries: Sequence[Query],
        found: Sequence[Sequence[int]],
        traces: Sequence[RoutingTrace],
    ) -> PrefixedPass:
        """The counterfactual model reads the edit and the question's words."""
        asked = [Query(None, q.prompt) for q in queries]
        return PrefixedPass(rows, self.counterfactual, asked, traces, [state.notes[i]["prefix"] for i, in found])
