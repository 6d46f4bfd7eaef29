"""How a backbone's rows are laid out: pictures to pixel values, prompts and answers to left-padded rows.

What :meth:`Backbone.encode` does for a few rows on the model's device, for many rows in a background process: the
tokens, positions and parts are the same, so that what is trained is what inference meets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from liveedit.backbones import Backbone
from liveedit.training.architecture import ANSWER_CUE, CHAT_TEMPLATE
from liveedit.training.samples import IMAGE_TOKENS, to_pixels
from liveedit.types import BackboneError

_PLACE = "PLACE-OF-THE-PROMPT"


class RowLayout:
    """The rows of a backbone whose pictures all take the same number of tokens.

    ``tokens`` is that number, ``side`` the width in pixels at which pictures are drawn. With ``chat`` a prompt
    stands in the model's chat template, as on the page; without, bare and with the answer cue, as in a benchmark.
    """

    def __init__(self, backbone: Backbone, chat: bool = True) -> None:
        self.processor, self.tokenizer, self.name = backbone.processor, backbone.tokenizer, backbone.name
        self.image_id, self.pad_id, self.eos_id = backbone.image_token_id, backbone.pad_id, backbone.eos_id
        blank = np.zeros((64, 64, 3), np.uint8)
        encoded = self.processor(images=[Image.fromarray(blank)], text=[self.processor.image_token])
        self.tokens = sum(int(i) == self.image_id for i in encoded["input_ids"][0])
        self.embedded = self.tokens == IMAGE_TOKENS and getattr(self.processor, "chat_template", None) == CHAT_TEMPLATE
        pixels = self._processed([blank])
        self.side = int(pixels.shape[-1])
        text = backbone.prompt_text(_PLACE, image=True, template=chat)
        if not (chat and getattr(self.processor, "chat_template", None)):
            text += ANSWER_CUE
        if text.count(_PLACE) != 1 or text.partition(_PLACE)[0].count(self.processor.image_token) != 1:
            raise BackboneError(
                f"the chat template of {self.name} does not put one picture before the question: use --no-chat-template"
            )
        self.before, self.after = text.split(_PLACE)

    def pixels(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """Pixel values [P, 3, H, W] of uint8 RGB pictures [side, side, 3]."""
        # The embedded backbone was trained on pictures drawn at its own size, which need no processor.
        return to_pixels(pictures) if self.embedded else self._processed(pictures)

    def _processed(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        images = [Image.fromarray(np.ascontiguousarray(p)) for p in pictures]
        values = dict(self.processor.image_processor(images=images, return_tensors="pt"))
        pixels = values.pop("pixel_values", None)
        # Anything beside pixel values says how a picture was cut up, and then its number of tokens varies.
        if values or not torch.is_tensor(pixels) or pixels.dim() != 4 or not self.tokens:
            raise BackboneError(
                f"{self.name} cuts pictures into varying numbers of tokens: train an editor for a LLaVA-like model"
            )
        return pixels.float()

    def rows(self, prompts: Sequence[str], answers: Sequence[str]) -> dict[str, torch.Tensor]:
        """``ids``, ``mask``, ``positions`` [R, T] and the parts ``vision``, ``prompt``, ``answer``, bool [R, T].

        Each row is one picture, its prompt and its answer with the stop token; what a template puts before the
        picture belongs to no part.
        """
        asked = self.tokenizer([self.before + p + self.after for p in prompts])["input_ids"]
        said = self.tokenizer([" " + a.strip() for a in answers], add_special_tokens=False)["input_ids"]
        rows = [(self._spread(p), [*a, self.eos_id]) for p, a in zip(asked, said, strict=True)]
        length = max(len(p) + len(a) for p, a in rows)
        ids = torch.full((len(rows), length), self.pad_id)
        parts = {name: torch.zeros(len(rows), length, dtype=torch.bool) for name in ("vision", "prompt", "answer")}
        attention = torch.zeros(len(rows), length, dtype=torch.long)
        for r, (p, a) in enumerate(rows):
            start = length - len(p) - len(a)
            first = start + p.index(self.image_id)
            ends = (first, first + self.tokens, length - len(a), length)
            ids[r, start:] = torch.tensor(p + a)
            attention[r, start:] = 1
            for name, left, right in zip(parts, ends[:3], ends[1:], strict=True):
                parts[name][r, left:right] = True
        return {"ids": ids, "mask": attention, "positions": (attention.cumsum(1) - 1).clamp(min=0), **parts}

    def _spread(self, ids: Sequence[int]) -> list[int]:
        """The picture's one marker as the tokens that the model expects in its place."""
        at = list(ids).index(self.image_id)
        return [*ids[:at], *[self.image_id] * self.tokens, *ids[at + 1 :]]
