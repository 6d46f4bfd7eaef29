"""What a backbone and an editor for it need, from the backbone's configuration alone: no weight is read.

Parameters, weights, optimizer states and bytes per edit are counted exactly on the meta device. Activations and the
KV cache are estimates, for one picture at a time when serving and for a batch of edits in training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from torch import nn

from liveedit.backbones.base import MAX_ANSWER_TOKENS, MAX_PROMPT_TOKENS, decoder_of
from liveedit.backbones.checkpoint import read_config, skeleton
from liveedit.backbones.checks import layer_refusal
from liveedit.config import EditorConfig
from liveedit.configs.liveedit import PAPER_TRAINING
from liveedit.experts.modules import LiveEditModules
from liveedit.types import BackboneError

# Bytes of a weight that can be quantized, and of any other. NF4 keeps a float32 factor for every 64 weights.
KINDS = {"float32": (4.0, 4.0), "bfloat16": (2.0, 2.0), "8bit": (1.0, 2.0), "4bit": (0.5 + 4 / 64, 2.0)}
# The paper's layer, 21 of 32, as a share of the decoder's depth.
PAPER_LAYER = 21 / 32
# An edit's rows in training: its own, reworded, redrawn, and the locality sample.
ROWS_PER_EDIT = 4
# Bytes kept for the backward pass for each of a layer's B x T x d states in 16 bits, the attention scores left out
# (Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198, Eq. 2).
KEPT_PER_STATE = 34
# Weight, gradient and AdamW's two moments, in float32.
TRAINED_BYTES = 16
ASSUMED_IMAGE_TOKENS = 576
LLAVA_NEXT = ("llava_next", "llava_next_video")


@dataclass(frozen=True)
class Memory:
    """Bytes for one way of holding the backbone's weights; ``serving`` and ``training`` are totals.

    An editor is not trained on quantized weights: there ``training`` is None.
    """

    weights: int
    serving: int
    training: int | None
    training_recompute: int | None


@dataclass(frozen=True)
class Footprint:
    """Everything ``plan`` says of one backbone.

    ``editor_bytes`` and ``bytes_per_edit`` are of float32, ``cache_bytes`` of one question's keys and values in 16
    bits; ``image_tokens`` is the most that one picture takes, assumed where ``image_tokens_known`` is False: there the
    configuration does not say.
    """

    model: str
    model_type: str
    parameters: int
    language_parameters: int
    layers: int
    hidden_size: int
    image_tokens: int
    image_tokens_known: bool
    editor: EditorConfig
    editor_parameters: int
    editor_bytes: int
    bytes_per_edit: int
    cache_bytes: int
    batch: int
    memory: dict[str, Memory]

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return asdict(self)


def footprint(
    name: str | Path, layer: int | None = None, batch: int = PAPER_TRAINING.batch, image_tokens: int | None = None
) -> Footprint:
    """The footprint of the backbone ``name`` (folder, ``config.json`` or hub id) and of an editor at ``layer``.

    ``batch`` edits make a training step; ``image_tokens`` is how many tokens a picture takes at most, asked of the
    configuration when None. Raises :class:`BackboneError` where ``load_backbone`` would refuse the model.
    """
    config = read_config(name)
    model = skeleton(config)
    layers = decoder_of(model).layers
    editor = editor_for(config, len(layers), layer, image_tokens)
    with init_empty_weights():
        modules = LiveEditModules(editor)
    trained = sum(p.numel() for p in modules.parameters())
    text = config.get_text_config()
    tokens = editor.sentinel_tokens + MAX_PROMPT_TOKENS + MAX_ANSWER_TOKENS
    cache = _cache_numbers(text, len(layers), tokens)
    working = tokens * (2 * int(getattr(text, "intermediate_size", 4 * text.hidden_size)) + 6 * text.hidden_size)
    above = len(layers) - editor.layer - 1
    states = batch * ROWS_PER_EDIT * tokens * text.hidden_size
    every, quantizable = sum(p.numel() for p in model.parameters()), _quantizable(model)
    memory = {}
    for kind, (small, plain) in KINDS.items():
        weights = int(quantizable * small + (every - quantizable) * plain)
        # Quantized weights compute in 16 bits, like bfloat16 ones.
        width = 2 if kind != "float32" else 4
        fixed = weights + TRAINED_BYTES * trained
        kept = states * KEPT_PER_STATE * width // 2
        trainable = small == plain
        memory[kind] = Memory(
            weights,
            weights + 4 * trained + (cache + working) * width,
            fixed + kept * above if trainable else None,
            fixed + kept * min(above, 1) + states * width * above if trainable else None,
        )
    return Footprint(
        str(name), str(config.model_type), every, sum(p.numel() for p in model.get_decoder().parameters()), len(layers),
        int(text.hidden_size), editor.sentinel_tokens, bool(image_tokens or _image_tokens(config)), editor, trained,
        4 * trained, 4 * 2 * (editor.rank * editor.hidden_size + editor.queries * editor.module_dim), cache * 2, batch,
        memory,
    )  # fmt: skip


def editor_for(config: Any, layers: int, layer: int | None, image_tokens: int | None) -> EditorConfig:
    """The paper's editor at the width and depth of this backbone."""
    chosen = round(PAPER_LAYER * layers) if layer is None else layer
    if refusal := layer_refusal(config, chosen):
        raise BackboneError(refusal)
    width = int(config.get_text_config().hidden_size)
    tokens = image_tokens or _image_tokens(config) or ASSUMED_IMAGE_TOKENS
    heads = max(h for h in (8, 4, 2, 1) if width % h == 0)
    return EditorConfig(hidden_size=width, layer=chosen, heads=heads, sentinel_tokens=tokens)


def _image_tokens(config: Any) -> int | None:
    """The most tokens that one picture takes, where the configuration tells; of other models the processor decides."""
    for name in ("mm_tokens_per_image", "num_query_tokens"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    side, patch = (getattr(config.vision_config, name, None) for name in ("image_size", "patch_size"))
    if not isinstance(side, int) or not isinstance(patch, int):
        return None
    row = side // patch
    if config.model_type in LLAVA_NEXT:
        # The picture in one tile, then in several, where a token ends each row of patches.
        tiles = ((height // side, width // side) for height, width in config.image_grid_pinpoints)
        return row * row + max(down * row * (across * row + 1) for down, across in tiles)
    # ``image_seq_length`` is of one tile: of the picture only where neither tiles nor a merging of patches are at work.
    alone = not getattr(config, "image_grid_pinpoints", None) and getattr(config, "image_seq_length", None) == row * row
    return row * row if alone else None


def _cache_numbers(text: Any, layers: int, tokens: int) -> int:
    """Numbers in the keys and values of ``tokens`` tokens."""
    heads = int(text.num_attention_heads)
    width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    return 2 * layers * tokens * width * int(getattr(text, "num_key_value_heads", None) or heads)


def _quantizable(model: Any) -> int:
    """Numbers in the matrices that bitsandbytes quantizes: of all linear layers but the output's."""
    output = model.get_output_embeddings()
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not output)
