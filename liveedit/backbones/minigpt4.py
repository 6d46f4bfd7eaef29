"""MiniGPT-4 (Zhu et al. 2023, https://arxiv.org/abs/2304.10592) put together from its public parts.

It is BLIP-2's vision tower and Q-Former, one linear layer, and Vicuna: what transformers' BLIP-2 classes hold with a
Llama for their language model. The authors publish the linear layer alone; its vision side is that of BLIP-2 with
Flan-T5, its language side Vicuna-7B.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import (
    AddedToken,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
)

from liveedit.backbones.checkpoint import stored_tensors
from liveedit.types import BackboneError

IMAGE_TOKEN = "<image>"
VISION = ("vision_model.", "qformer.", "query_tokens")
PROJECTION = ("llama_proj.weight", "llama_proj.bias")
# The conversation under which the authors trained and demonstrate the model.
TEMPLATE = (
    "{% for message in messages %}{% set seen = namespace(any=false) %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{% set seen.any = true %}{% endif %}{% endfor %}"
    "{% if seen.any %}Give the following image: <Img>ImageContent</Img>. You will be able to see the image once I "
    "provide it to you. Please answer my questions.{% endif %}###Human: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<Img>IMAGE</Img> {% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}###Assistant:{% endif %}"
)


def assemble(
    blip2: str | Path, vicuna: str | Path, projection: Path, out: Path, dtype: torch.dtype = torch.float16
) -> Path:
    """Write MiniGPT-4 as a backbone folder to ``out``; returns ``out``.

    ``blip2`` is a BLIP-2 and ``vicuna`` a Llama, folder or hub id; ``projection`` is the authors' checkpoint with the
    linear layer. Raises :class:`BackboneError` before any weight of the two is read when the three do not fit.
    """
    if (out / "config.json").exists():
        raise BackboneError(f"{out} already holds a model: choose another folder")
    seeing, saying = (_config(name, kind) for name, kind in ((blip2, "blip-2"), (vicuna, "llama")))
    weight, bias = read_projection(projection)
    wanted = (saying.hidden_size, seeing.qformer_config.hidden_size)
    if tuple(weight.shape) != wanted or tuple(bias.shape) != wanted[:1]:
        raise BackboneError(
            f"the linear layer in {projection} is {list(weight.shape)}, but between {blip2} and {vicuna} it must be "
            f"{list(wanted)}: take the checkpoint made for this Vicuna"
        )
    tokenizer: Any = AutoTokenizer.from_pretrained(vicuna)
    tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, normalized=False, special=True)], special_tokens=True)
    tokenizer.chat_template = TEMPLATE.replace("IMAGE<", IMAGE_TOKEN * seeing.num_query_tokens + "<")
    # Without a number of query tokens the processor leaves the picture's place to the text.
    processor = Blip2Processor(AutoImageProcessor.from_pretrained(blip2), tokenizer)
    language = AutoModelForCausalLM.from_pretrained(vicuna, dtype=dtype)
    _add_rows(language, len(tokenizer))
    config = Blip2Config(
        vision_config=seeing.vision_config,
        qformer_config=seeing.qformer_config,
        text_config=language.config,
        num_query_tokens=seeing.num_query_tokens,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )
    seen = stored_tensors(blip2, seeing, VISION)
    tensors = {name: value.to(dtype) if value.is_floating_point() else value for name, value in seen.items()}
    tensors |= {f"language_model.{name}": value for name, value in language.state_dict().items()}
    tensors |= {"language_projection.weight": weight.to(dtype), "language_projection.bias": bias.to(dtype)}
    with init_empty_weights():
        model = Blip2ForConditionalGeneration(config)
    model.load_state_dict(tensors, strict=True, assign=True)
    model.generation_config = language.generation_config
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return out


def read_projection(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [d, d_q] and bias [d] of the linear layer in the authors' checkpoint; nothing but tensors is read."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises of a file that is no checkpoint depends on its bytes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(
            f"the projection {path} cannot be read ({reason}): give the authors' checkpoint, such as "
            "pretrained_minigpt4_7b.pth"
        ) from error
    found = content.get("model", content) if isinstance(content, Mapping) else {}
    if not all(torch.is_tensor(found.get(name)) for name in PROJECTION):
        raise BackboneError(
            f"{path} holds no {PROJECTION[0]} and {PROJECTION[1]}: give the authors' checkpoint, such as "
            "pretrained_minigpt4_7b.pth"
        )
    return found[PROJECTION[0]].float(), found[PROJECTION[1]].float()


def _config(name: str | Path, kind: str) -> Any:
    """The configuration of a part, checked to be of its kind."""
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BackboneError(
            f"there is no model at {name}, and none of that name is cached: check the path, or allow downloads "
            "(HF_HUB_OFFLINE=0 and a network)"
        ) from error
    if config.model_type != kind:
        raise BackboneError(f"{name} is a {config.model_type} model: give a {kind} model for this part")
    return config


def _add_rows(language: Any, count: int) -> None:
    """Give a new token the mean of all others in the embeddings and the head, so that it is never the likeliest."""
    before = language.get_input_embeddings().weight.shape[0]
    if count <= before:
        return
    language.resize_token_embeddings(count, mean_resizing=False)
    with torch.no_grad():
        for table in (language.get_input_embeddings().weight, language.get_output_embeddings().weight):
            table[before:] = table[:before].float().mean(0).to(table.dtype)
