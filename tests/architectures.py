"""Tiny models with random weights of every architecture that a backbone may have, in transformers' own classes.

Each is saved with a processor and a tokenizer trained here, and loaded as a real one is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from liveedit.backbones.processors import NoVideos, without_videos
from liveedit.world.questions import corpus

WIDTH, LAYERS = 32, 4
SPECIAL = ("<pad>", "</s>", "<image>", "<video>", "<img_start>", "<img_end>", "<fake_token_around_image>",
           "<end_of_utterance>", "<global-img>", "<boi>", "<eoi>", "<|vision_start|>", "<|vision_end|>")  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}Person: {% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "MARKER\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}{% if add_generation_prompt %}Model:"
    "{% endif %}"
)


def tokenizer(**named: str) -> Any:
    """A byte-level BPE tokenizer; ``named`` special tokens become attributes, as the processors want them."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer, trained.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tiles = [f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[*SPECIAL, *tiles], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator(corpus(Random(0), 100), trainer)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", eos_token="</s>", extra_special_tokens=named, padding_side="left"
    )


def ids_of(words: Any, **tokens: str) -> dict[str, int]:
    """Configuration fields that name tokens."""
    return {name: int(words.convert_tokens_to_ids(token)) for name, token in tokens.items()}


def language(words: Any, **more: Any) -> dict[str, Any]:
    """What all small language models share."""
    return {
        "vocab_size": len(words), "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 1024,
        "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id, "bos_token_id": None,
        "tie_word_embeddings": False, **more,
    }  # fmt: skip


def vision(**more: Any) -> dict[str, Any]:
    """What all small vision towers share."""
    return {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, **more}


def side(pixels: int) -> dict[str, int]:
    return {"height": pixels, "width": pixels}


def llava() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**vision(image_size=32, patch_size=8, projection_dim=32)),
        text_config=hf.LlamaConfig(**language(words)), image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, image_seq_length=16,
    )  # fmt: skip
    pictures = CLIPImageProcessorPil(size=side(32), crop_size=side(32))
    processor = hf.LlavaProcessor(
        pictures, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("MARKER", "<image>"),
    )  # fmt: skip
    return hf.LlavaForConditionalGeneration(config), processor


def _blip2(words: Any, text: Any, queries: int = 6) -> Any:
    config = hf.Blip2Config(
        vision_config=hf.Blip2VisionConfig(**vision(image_size=32, patch_size=16)),
        qformer_config=hf.Blip2QFormerConfig(**vision(vocab_size=50, cross_attention_frequency=1)),
        text_config=text, num_query_tokens=queries, image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return hf.Blip2ForConditionalGeneration(config)


def blip2_opt(queries: int = 6) -> tuple[Any, Any]:
    words = tokenizer()
    text = hf.OPTConfig(
        vocab_size=len(words), hidden_size=WIDTH, ffn_dim=64, num_hidden_layers=LAYERS, num_attention_heads=2,
        word_embed_proj_dim=WIDTH, max_position_embeddings=256, dropout=0.0, pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id, bos_token_id=words.eos_token_id,
    )  # fmt: skip
    processor = hf.Blip2Processor(BlipImageProcessorPil(size=side(32)), words, num_query_tokens=queries)
    return _blip2(words, text, queries), processor


def minigpt4() -> tuple[Any, Any]:
    words = tokenizer()
    words.chat_template = TEMPLATE.replace("MARKER", "<image>" * 6)
    processor = hf.Blip2Processor(BlipImageProcessorPil(size=side(32)), words)
    return _blip2(words, hf.LlamaConfig(**language(words))), processor


def llava_next() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    pinpoints = [[16, 32], [32, 16], [32, 32]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**vision(image_size=16, patch_size=8, projection_dim=32)),
        text_config=hf.LlamaConfig(**language(words)), image_token_id=words.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints, vision_feature_layer=-1,
    )  # fmt: skip
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": 16}, crop_size=side(16), image_grid_pinpoints=pinpoints
    )
    processor = hf.LlavaNextProcessor(
        pictures, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("MARKER", "<image>"),
    )  # fmt: skip
    return hf.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>", video_token="<video>")
    pinpoints = [[16, 16], [16, 32], [32, 16], [32, 32]]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**vision(image_size=16, patch_size=8, vision_use_head=False)),
        text_config=hf.Qwen2Config(**language(words)), image_grid_pinpoints=pinpoints, vision_feature_layer=-1,
        **ids_of(words, image_token_id="<image>", video_token_id="<video>"),
    )  # fmt: skip
    pictures = LlavaOnevisionImageProcessorPil(size=side(16), image_grid_pinpoints=pinpoints)
    processor = without_videos(hf.LlavaOnevisionProcessor)(
        pictures, words, NoVideos(), num_image_tokens=4, vision_feature_select_strategy="full",
        chat_template=TEMPLATE.replace("MARKER", "<image>"),
    )  # fmt: skip
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


QWEN = {"image_token_id": "<image>", "video_token_id": "<video>", "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>"}  # fmt: skip


def _qwen(kind: Any) -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>", video_token="<video>")
    pictures = Qwen2VLImageProcessorPil(
        patch_size=4, temporal_patch_size=2, merge_size=2, size={"shortest_edge": 8 * 8 * 4, "longest_edge": 8 * 8 * 12}
    )
    template = TEMPLATE.replace("MARKER", "<|vision_start|><image><|vision_end|>")
    return words, without_videos(kind)(pictures, words, NoVideos(), chat_template=template)


def qwen2_5_vl() -> tuple[Any, Any]:
    words, processor = _qwen(hf.Qwen2_5_VLProcessor)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    config = hf.Qwen2_5_VLConfig(
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4, "out_hidden_size": WIDTH,
                           "window_size": 16, "fullatt_block_indexes": [1], "temporal_patch_size": 2, "spatial_merge_size": 2},
        text_config=language(words, rope_parameters=rope), **ids_of(words, **QWEN),
    )  # fmt: skip
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    words, processor = _qwen(hf.Qwen3VLProcessor)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    config = hf.Qwen3VLConfig(
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4, "out_hidden_size": WIDTH,
                           "temporal_patch_size": 2, "spatial_merge_size": 2, "num_position_embeddings": 64,
                           "deepstack_visual_indexes": [0, 1]},
        text_config=language(words, rope_parameters=rope), **ids_of(words, **QWEN),
    )  # fmt: skip
    return hf.Qwen3VLForConditionalGeneration(config), processor


def _idefics3(words: Any, kind: Any) -> Any:
    return kind(
        vision_config=vision(image_size=16, patch_size=4), text_config=hf.LlamaConfig(**language(words)), scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"), pad_token_id=words.pad_token_id,
    )  # fmt: skip


TILES = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}


def idefics3() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    processor = hf.Idefics3Processor(
        Idefics3ImageProcessorPil(**TILES), words, image_seq_len=4, chat_template=TEMPLATE.replace("MARKER", "<image>")
    )
    return hf.Idefics3ForConditionalGeneration(_idefics3(words, hf.Idefics3Config)), processor


# What spells the number of a video's frames, which no test has; the processor does not start without it.
processing_smolvlm.num2words = processing_smolvlm.num2words or str


def smolvlm() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    processor = without_videos(hf.SmolVLMProcessor)(
        SmolVLMImageProcessorPil(**TILES), words, NoVideos(), image_seq_len=4,
        chat_template=TEMPLATE.replace("MARKER", "<image>"),
    )  # fmt: skip
    return hf.SmolVLMForConditionalGeneration(_idefics3(words, hf.SmolVLMConfig)), processor


def internvl() -> tuple[Any, Any]:
    words = tokenizer(
        start_image_token="<img_start>", end_image_token="<img_end>", context_image_token="<image>", video_token="<video>"
    )
    config = hf.InternVLConfig(
        vision_config=dict(**vision(image_size=[16, 16], patch_size=[4, 4])), text_config=hf.Qwen2Config(**language(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"), image_seq_length=4,
    )  # fmt: skip
    pictures = GotOcr2ImageProcessorPil(size=side(16), crop_to_patches=True, min_patches=1, max_patches=3)
    processor = without_videos(hf.InternVLProcessor)(
        pictures, words, NoVideos(), image_seq_length=4, chat_template=TEMPLATE.replace("MARKER", "<image>")
    )
    return hf.InternVLForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>", boi_token="<boi>", eoi_token="<eoi>")
    text = hf.Gemma3TextConfig(
        **language(words, sliding_window=24, query_pre_attn_scalar=16),
        layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
    )
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**vision(image_size=32, patch_size=8, vision_use_head=False)), text_config=text,
        mm_tokens_per_image=4, tie_word_embeddings=False, **ids_of(words, image_token_id="<image>", boi_token_id="<boi>", eoi_token_id="<eoi>"),
    )  # fmt: skip
    processor = hf.Gemma3Processor(
        Gemma3ImageProcessorPil(size=side(32)), words, image_seq_length=4, chat_template=TEMPLATE.replace("MARKER", "<boi>")
    )
    return hf.Gemma3ForConditionalGeneration(config), processor


ARCHITECTURES: dict[str, Callable[[], tuple[Any, Any]]] = {
    build.__name__: build
    for build in (
        llava, blip2_opt, minigpt4, llava_next, llava_onevision, qwen2_5_vl, qwen3_vl, idefics3, smolvlm, internvl, gemma3
    )
}  # fmt: skip


def save(name: str, folder: Path) -> Path:
    """An architecture with weights so large that its answers depend on picture and prompt, saved to a folder."""
    torch.manual_seed(0)
    model, processor = ARCHITECTURES[name]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2, generator=generator)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
