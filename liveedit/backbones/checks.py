"""What a model must be to serve as a backbone, told from configurations alone, before any weight is read."""

from __future__ import annotations

from typing import Any

from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from liveedit.types import BackboneError

KINDS = (
    "a decoder-only vision-language model that marks its picture with placeholder tokens, such as LLaVA, BLIP-2 OPT, "
    "MiniGPT-4, LLaVA-NeXT, LLaVA-OneVision, Qwen2.5-VL, Qwen3-VL, SmolVLM2, Idefics3, InternVL3 or Gemma 3"
)


def check_config(config: Any, name: str) -> None:
    """Refuse an encoder-decoder, a text-only model, one that writes no text, and one without image placeholder tokens."""
    reason = None
    if getattr(config, "is_encoder_decoder", False):
        reason = f"{name} is a {config.model_type} model with an encoder and a decoder for its text"
    elif getattr(config, "vision_config", None) is None:
        reason = f"{name} is a {config.model_type} model, which sees no pictures"
    elif getattr(config, "image_token_id", None) is None:
        reason = f"{name} is a {config.model_type} model without image placeholder tokens"
    elif getattr(config.get_text_config(), "cross_attention_layers", None):
        # Its image token only says that there is a picture; the states of a picture are never in the decoder's.
        reason = f"{name} is a {config.model_type} model, which reads its picture by cross-attention"
    elif type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        reason = f"{name} is a {config.model_type} model, which writes no text"
    if reason:
        raise BackboneError(f"{reason}: choose {KINDS}")


def layers_of(config: Any) -> int:
    """Number of decoder layers."""
    return int(config.get_text_config().num_hidden_layers)


def width_of(config: Any) -> int:
    """Width d of the decoder's states."""
    return int(config.get_text_config().hidden_size)


def first_layer(config: Any) -> int:
    """The lowest layer at which experts can act.

    Qwen3-VL adds visual features to the states behind its first decoder layers (DeepStack); an edit below would be
    trained on other states than it meets.
    """
    return len(getattr(config.vision_config, "deepstack_visual_indexes", None) or ())


def layer_refusal(config: Any, layer: int) -> str | None:
    """Why experts cannot act at layer l_e of the model, with the layers to choose from; None when they can."""
    low, count = first_layer(config), layers_of(config)
    if not 0 <= layer < count:
        return f"layer {layer} is outside the backbone's {count} decoder layers: choose {low} to {count - 1}"
    if layer < low:
        return (
            f"this {config.model_type} model adds visual features in its first {low} decoder layers, so experts cannot "
            f"act at layer {layer}: choose {low} to {count - 1}"
        )
    return None
