"""The frozen vision-language model with its processor: encoding of rows, spans, forward passes.

The adapter asks the model itself for what it needs (decoder layers, width, image token), so it serves
the embedded LLaVA and the 7B one alike. Rows are padded on the left and positions count real tokens, so
a row's result does not depend on the rows beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from inspect import signature
from threading import RLock
from typing import Any

import torch
from PIL.Image import Image
from torch import nn

from liveedit.backbones.batch import EncodedBatch, PictureInputs
from liveedit.backbones.checks import width_of
from liveedit.backbones.memory import execution_device
from liveedit.backbones.processors import RowReader, marker_of, sample_picture, unmarked
from liveedit.backbones.texts import check_text
from liveedit.types import BackboneError, Edit, InputError, TokenSpans

MAX_PROMPT_TOKENS = 256
MAX_ANSWER_TOKENS = 32


class Backbone:
    """A frozen VLLM. Immutable after loading; safe to share between people and threads, which run it one at a time."""

    def __init__(self, model: Any, processor: Any, name: str, known_fingerprint: str | None = None) -> None:
        self.model, self.processor, self.name = model.eval().requires_grad_(False), processor, name
        self.tokenizer = processor.tokenizer
        self.config = model.config
        self.image_token_id = int(self.config.image_token_id)
        self.decoder = decoder_of(model)
        self.layers: nn.ModuleList = self.decoder.layers
        self.hidden_size = width_of(self.config)
        self.accepted = tuple(signature(model.forward).parameters)
        self.eos_id = int(self.tokenizer.eos_token_id)
        self.pad_id = int(self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.eos_id)
        ids = self.tokenizer("a")["input_ids"]
        self.beginning = self.tokenizer.bos_token or ""
        if ids[0] != self.tokenizer.bos_token_id:
            self.beginning = ""
        self.marker = marker_of(processor, self.config)
        # An answer stands behind a space, unless the template ends its line or the tokenizer adds the space.
        spaced = self.tokenizer.convert_ids_to_tokens(ids[-1]).startswith("\u2581")
        ends = {template: self.prompt_text("a", False, template)[-1:] for template in (True, False)}
        self.before_answer = {template: "" if spaced or end.isspace() else " " for template, end in ends.items()}
        read = RowReader(processor, self.accepted).read(f"{self.marker}a", sample_picture(224, 224))
        self.image_tokens = read[0].count(self.image_token_id)
        self.token_types = tuple(name for name in read[2] if name in self.accepted)
        marked = [int(token == self.image_token_id) for token in read[0]]
        if not self.image_tokens or any(read[2][types] != marked for types in self.token_types):
            raise unmarked(name, type(processor).__name__)
        self.fingerprint = known_fingerprint or fingerprint(model)
        # Some models keep from one token to the next where a picture's positions end, so no two may be answering at once.
        self.lock = RLock()

    @property
    def device(self) -> torch.device:
        """Where the model takes its input; under a device map its layers may be elsewhere."""
        return execution_device(self.model.get_input_embeddings())

    @property
    def head(self) -> nn.Module:
        """Final states [.., d] to logits."""
        return self.model.get_output_embeddings()

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer: the tokenizer's, and those at which the model ends its turn of a chat."""
        ends = {self.eos_id}
        for config in (self.model.generation_config, self._speaker(False).generation_config):
            given = config.eos_token_id
            ends.update(given if isinstance(given, (list, tuple)) else [] if given is None else [given])
        return sorted(ends)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings [.., d] of token ids."""
        table = self.model.get_input_embeddings()
        # An image token may lie outside the vocabulary; what stands there is the picture's.
        return table(ids.masked_fill(ids >= table.weight.shape[0], self.pad_id))

    def _speaker(self, picture: bool) -> Any:
        """What runs rows with or without a picture: BLIP-2's class takes none without, its language model does."""
        inner = getattr(self.model, "language_model", None)
        whole = picture or inner is None or not inner.can_generate()
        return self.model if whole else inner

    def forward(self, batch: EncodedBatch, **options: Any) -> Any:
        """The model's output for a batch: what transformers gives for the same rows, bit for bit."""
        speaker = self._speaker(batch.pictures is not None)
        if "logits_to_keep" in options and "logits_to_keep" not in signature(speaker.forward).parameters:
            options.pop("logits_to_keep")
        with self.lock:
            return speaker(**batch.model_inputs(), **options)

    def generate(self, batch: EncodedBatch, reached: Any = None, **options: Any) -> Any:
        """What the model's ``generate`` gives for the rows: ids [B, T + new], or its output where options ask for that.

        ``reached`` is the output of an earlier call for the same rows, from which to go on.
        """
        picture = batch.pictures is not None and reached is None
        inputs: dict[str, Any] = batch.model_inputs(positions=False)
        if reached is not None:
            # The pictures are in the cache by now; the text behind them is counted on in all dimensions alike.
            new = torch.arange(reached.sequences.shape[1] - batch.input_ids.shape[1], device=batch.input_ids.device)
            said = batch.attention_mask.new_ones(len(batch.input_ids), len(new))
            places = [batch.position_ids, batch.position_ids[..., -1:] + 1 + new]
            inputs = {
                "input_ids": reached.sequences,
                "attention_mask": torch.cat([batch.attention_mask, said], 1),
                "position_ids": torch.cat(places, -1),
                "past_key_values": reached.past_key_values,
            }
        speaker = self._speaker(picture)
        with self.lock:
            return speaker.generate(**inputs, eos_token_id=self.stop_ids, pad_token_id=self.pad_id, **options)

    def generation_config(self, batch: EncodedBatch) -> Any:
        """The settings under which :meth:`generate` runs."""
        return self._speaker(batch.pictures is not None).generation_config

    def prompt_text(self, prompt: str, image: bool, template: bool) -> str:
        """The text of one row: the model's chat template, or the bare prompt behind the image token."""
        if template and getattr(self.processor, "chat_template", None):
            content: list[dict[str, str]] = [{"type": "image"}] if image else []
            content.append({"type": "text", "text": prompt})
            text = str(
                self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            )
            # The tokenizer begins a text by itself, and so do many templates.
            return text.removeprefix(self.beginning)
        return f"{self.marker}{prompt}" if image else prompt

    def answer_text(self, target: str, template: bool = True) -> str:
        """An answer as it follows a prompt in the template or a bare one."""
        return self.before_answer[template] + target.strip()

    def answer_ids(self, target: str, template: bool = True) -> list[int]:
        """Token ids of an answer as it follows a prompt, without the stop token."""
        ids = self.tokenizer(self.answer_text(target, template), add_special_tokens=False)["input_ids"]
        return [int(i) for i in ids]

    def _check_markers(self, text: str, what: str) -> None:
        """Refuse a text that the model would take for a picture."""
        markers = {"<image>", self.marker, self.tokenizer.decode([self.image_token_id])} - {""}
        found = next((marker for marker in sorted(markers) if marker in text), None)
        if found:
            raise InputError(f"the {what} contains the marker {found}: remove it")

    def check_prompt(self, prompt: str) -> None:
        """Refuse an empty or too long prompt, and one with the tokenizer's own markers."""
        check_text(prompt, "question", self.tokenizer)
        if not prompt.strip():
            raise InputError("the question is empty: type a question")
        self._check_markers(prompt, "question")
        count = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if count > MAX_PROMPT_TOKENS:
            raise InputError(f"the question has {count} tokens, the limit is {MAX_PROMPT_TOKENS}: shorten it")

    def check_answer(self, target: str) -> None:
        """Refuse an empty or too long answer, and one with the tokenizer's own markers."""
        check_text(target, "new answer", self.tokenizer)
        if not target.strip():
            raise InputError("the new answer is empty: type what the model shall say")
        self._check_markers(target, "new answer")
        count = len(self.answer_ids(target))
        if count > MAX_ANSWER_TOKENS:
            raise InputError(f"the new answer has {count} tokens, the limit is {MAX_ANSWER_TOKENS}: shorten it")

    def check_edit(self, edit: Edit) -> None:
        """Refuse an edit whose prompt or new answer cannot be used."""
        self.check_prompt(edit.prompt)
        self.check_answer(edit.target)

    def encode(
        self,
        images: Sequence[Image | None],
        prompts: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
        template: bool = True,
    ) -> EncodedBatch:
        """Encode B rows; ``answers`` are token ids appended behind the prompts."""
        for prompt in prompts:
            self._check_markers(prompt, "question")
        reader, ids, parts = RowReader(self.processor, self.accepted), [], []
        shown: dict[int, Image] = {}
        for prompt, image in zip(prompts, images, strict=True):
            text = self.prompt_text(prompt, image is not None, template)
            if image is None:
                ids.append([int(i) for i in self.tokenizer(text)["input_ids"]])
                continue
            row, part, _ = reader.read(text, shown.setdefault(id(image), image.convert("RGB")))
            ids.append(row)
            parts.append(part)
        pictures = PictureInputs.joined(parts).to(self.device, self.model.dtype) if parts else None
        return self.collate(ids, answers or [[] for _ in ids], pictures)

    def collate(
        self, ids: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pictures: PictureInputs | None
    ) -> EncodedBatch:
        """Left-pad rows of prompt ids with their answers, and note the spans."""
        whole = [list(prompt) + list(answer) for prompt, answer in zip(ids, answers, strict=True)]
        length = max(len(row) for row in whole)
        spans, offsets = [], []
        tokens = torch.full((len(whole), length), self.pad_id)
        mask = torch.zeros((len(whole), length), dtype=torch.long)
        for number, (row, prompt) in enumerate(zip(whole, ids, strict=True)):
            offsets.append(length - len(row))
            tokens[number, length - len(row) :] = torch.tensor(row)
            mask[number, length - len(row) :] = 1
            spans.append(self.spans(prompt, len(row)))
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        types = self.types_of(tokens)
        positions = self.positions(tokens, mask, pictures, range(len(pictures or ())))
        return EncodedBatch(tokens, mask, positions, pictures, spans, offsets, types)

    def types_of(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """What marks the image tokens among ``ids`` [B, T], by the names under which the model wants it."""
        return {name: (ids == self.image_token_id).long() for name in self.token_types}

    def positions(
        self, ids: torch.Tensor, mask: torch.Tensor, pictures: PictureInputs | None, which: Sequence[int]
    ) -> torch.Tensor:
        """Positions [B, T] that count real tokens; [4, B, T] where the model itself counts a picture's rows and columns.

        ``which`` are the pictures of the rows that have one, in their order.
        """
        plain = (mask.cumsum(1) - 1).clamp(min=0)
        count = getattr(getattr(self.model, "model", None), "get_rope_index", None)
        if count is None or pictures is None:
            return plain
        grid = pictures.value("image_grid_thw", which).to(ids.device)
        types = (ids == self.image_token_id).long()
        spread, _ = count(ids, mm_token_type_ids=types, image_grid_thw=grid, attention_mask=mask)
        return torch.cat([plain[None], spread])

    def spans(self, prompt: Sequence[int], length: int) -> TokenSpans:
        """Where vision, prompt and answer lie in a row of ``length`` tokens that begins with ``prompt``."""
        at = [i for i, token in enumerate(prompt) if token == self.image_token_id]
        vision = (at[0], at[-1] + 1) if at else (0, 0)
        return TokenSpans(vision, (vision[1], len(prompt)), (len(prompt), length))


def decoder_of(model: Any) -> Any:
    """The language model's stack, the module that holds its decoder layers, found from the model itself."""
    decoder, above = model, None
    while decoder is not above and not isinstance(getattr(decoder, "layers", None), nn.ModuleList):
        above, decoder = decoder, decoder.get_decoder() if hasattr(decoder, "get_decoder") else decoder
    if decoder is above or not len(decoder.layers):
        raise BackboneError(
            f"{type(model).__name__} has no stack of decoder layers: choose a decoder-only vision-language model"
        )
    return decoder


def fingerprint(model: Any) -> str:
    """A short name of the weights: model type and a digest of them.

    An editor fits only the weights it was trained on.
    """
    return f"{model.config.model_type}-{tensors_digest(model.state_dict())}"


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """16 hexadecimal digits over the names and a sample of 64 numbers of every tensor.

    That tells two trained models apart without reading gigabytes.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        flat = tensor.detach().flatten()
        step = max(1, flat.numel() // 64)
        digest.update(name.encode())
        digest.update(flat[::step][:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
