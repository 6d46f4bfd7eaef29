"""Processors: loading them without video parts, and reading one row of text and picture with them.

Several processors of transformers demand a video processor, which needs torchvision; pictures alone do not.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.image_processing_utils import BatchFeature
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin
from transformers.utils import is_torchvision_available
from transformers.video_processing_utils import VideoProcessorMixin

from liveedit.backbones.batch import PictureInputs
from liveedit.types import BackboneError

TEXT_OUTPUTS = ("input_ids", "attention_mask")
TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")


class NoVideos(VideoProcessorMixin):
    """Stands where a processor wants a video processor; no video is ever given to it."""

    # SmolVLM's chat template asks for them whatever it is filled with.
    num_frames = fps = 1


def without_videos(kind: Any) -> Any:
    """A processor's class that takes :class:`NoVideos`, which transformers cannot check without torchvision."""

    def check(self: Any, name: str, argument: Any) -> Any:
        return NoVideos if name == "video_processor" else kind.check_argument_for_proper_class(self, name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check, "__module__": kind.__module__})


def load_processor(name: str | Path, config: Any, local: bool) -> Any:
    """The processor of a folder or hub id, which spreads a picture over placeholder tokens.

    Raises ImportError when it needs a package that is not installed, and :class:`BackboneError` when it does not
    spread pictures: it is loaded before the model's weights.
    """
    options = {"local_files_only": local, "trust_remote_code": False}
    settings, _ = ProcessorMixin.get_processor_dict(name, **options)
    known = settings.get("processor_class") or PROCESSOR_MAPPING_NAMES.get(config.model_type)
    kind = getattr(transformers, known or "", None)
    if is_torchvision_available() or kind is None or "video_processor" not in kind.get_attributes():
        processor = AutoProcessor.from_pretrained(name, **options)
    else:
        parts = {
            "image_processor": AutoImageProcessor.from_pretrained(name, **options),
            "tokenizer": AutoTokenizer.from_pretrained(name, **options),
            "video_processor": NoVideos(),
        }
        kind = without_videos(kind)
        processor = kind.from_args_and_dict([parts[attribute] for attribute in kind.get_attributes()], settings)
    # Some processors leave the template that shows a picture to their tokenizer.
    template = processor.tokenizer.chat_template
    if getattr(processor, "chat_template", None) is None and template and "image" in template:
        processor.chat_template = template
    try:
        ids = RowReader(processor, ()).read(f"{marker_of(processor, config)}a", sample_picture(224, 224))[0]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unmarked(str(name), type(processor).__name__) from error
    # A single token is the marker as it was written: that model takes its picture some other way.
    if ids.count(config.image_token_id) < 2:
        raise unmarked(str(name), type(processor).__name__)
    return processor


class RowReader:
    """Reads rows with a processor, a picture's pixels once however many rows show it.

    ``accepted`` are the model's arguments; what else a processor returns is not for the model. A reader keeps the
    pictures it has read: make one for each batch.
    """

    def __init__(self, processor: Any, accepted: Sequence[str]) -> None:
        # A shallow copy with its own front for pictures: the processor itself stays as it is.
        self.processor, self.accepted = copy.copy(processor), accepted
        self.processor.image_processor = _Remembering(processor.image_processor)

    def read(self, text: str, image: Image.Image) -> tuple[list[int], PictureInputs, dict[str, list[int]]]:
        """Token ids of ``text`` with its marker spread over the picture's tokens, the picture, and token types."""
        outputs = dict(self.processor(images=[image], text=[text], return_tensors="pt"))
        ids = [int(i) for i in outputs["input_ids"][0]]
        types = {name: [int(i) for i in outputs[name][0]] for name in TOKEN_TYPES if name in outputs}
        rest = {n: v for n, v in outputs.items() if n in self.accepted and n not in (*TEXT_OUTPUTS, *TOKEN_TYPES)}
        return ids, PictureInputs.of_one(rest), types


class _Remembering:
    """An image processor that processes a picture it has seen no second time."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.seen: dict[int, tuple[Any, Any]] = {}

    def __call__(self, images: Any, **options: Any) -> BatchFeature:
        picture = images
        while isinstance(picture, (list, tuple)):
            (picture,) = picture
        if id(picture) not in self.seen:
            # The picture is kept too: its id may otherwise become another's.
            self.seen[id(picture)] = (picture, self.inner(images, **options))
        # Some processors take what they need out of the outputs.
        return BatchFeature(dict(self.seen[id(picture)][1]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def marker_of(processor: Any, config: Any) -> str:
    """What stands in a bare prompt for the picture; empty where the processor puts the picture in by itself."""
    token = getattr(processor, "image_token", None)
    token = str(getattr(token, "content", token) or processor.tokenizer.convert_ids_to_tokens(config.image_token_id))
    queries = getattr(config, "num_query_tokens", None)
    if queries is not None:
        return "" if getattr(processor, "num_query_tokens", None) else token * int(queries)
    ends = [getattr(config, f"vision_{name}_token_id", None) for name in ("start", "end")]
    if None not in ends:
        start, end = processor.tokenizer.convert_ids_to_tokens(ends)
        return f"{start}{token}{end}"
    return token


def sample_picture(width: int, height: int) -> Image.Image:
    """A picture without any meaning, to learn from how a processor cuts pictures up."""
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return Image.fromarray(ramp.astype(np.uint8))


def unmarked(name: str, kind: str) -> BackboneError:
    """The refusal of a processor that gives a picture no tokens of its own."""
    return BackboneError(
        f"the processor of {name} ({kind}) does not spread a picture over placeholder tokens: take a checkpoint whose "
        "processor files are those of the current transformers"
    )
