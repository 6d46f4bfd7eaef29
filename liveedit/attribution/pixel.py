"""The target of :mod:`liveedit.attribution.visual` by occlusion of pixels, with captum.

Slower, since every occluded picture passes through the backbone up to layer l_e, but it asks nothing of
the model: it also fits models whose visual tokens do not keep their place. The picture itself is occluded,
before the model's own processor, so tiling and resizing happen as they always do.
"""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import Occlusion
from PIL import Image
from torch.nn import functional as F

from liveedit.attribution.visual import extractor_of, min_max
from liveedit.editors import LiveEdit

WORK_SIDE = 224
CELLS = 14
WINDOW_CELLS = 4
BATCH = 32


@torch.no_grad()
def visual_feature_occlusion(
    editor: LiveEdit, image: Image.Image, prompt: str, side: str = "query", template: bool = True
) -> np.ndarray:
    """Heatmap [14, 14] float32 in 0..1: how far phi turns when a patch takes the picture's mean colour.

    The picture is worked on at 224 x 224 pixels; windows of 64 pixels move by 16, and each pixel's value is
    the mean over the windows that cover it, reported on the 14 x 14 cells of 16 pixels.
    """
    extractor = extractor_of(editor, side)
    work = image.convert("RGB").resize((WORK_SIDE, WORK_SIDE), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(work, np.float32).copy()).permute(2, 0, 1)[None]
    clean: torch.Tensor | None = None

    def feature(pictures: torch.Tensor) -> torch.Tensor:
        """phi [B, k*d_m] of pictures [B, 3, H, W] with values 0..255."""
        arrays = pictures.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        images = [Image.fromarray(a) for a in arrays]
        batch = editor.backbone.encode(images, [prompt] * len(images), None, template)
        hidden = editor.states(batch)
        asked = extractor.attention_queries(hidden, batch.part("prompt"))
        return extractor.visual(asked, hidden, batch.part("vision")).flatten(1)

    def likeness(pictures: torch.Tensor) -> torch.Tensor:
        """cos(phi of an occluded picture, phi of the whole one) [B]; occlusion reports what is lost of it."""
        assert clean is not None
        return F.cosine_similarity(feature(pictures), clean, dim=-1)

    clean = feature(pixels)
    step = WORK_SIDE // CELLS
    lost = Occlusion(likeness).attribute(
        pixels,
        sliding_window_shapes=(3, WINDOW_CELLS * step, WINDOW_CELLS * step),
        strides=(3, step, step),
        baselines=pixels.mean((2, 3), keepdim=True).expand_as(pixels),
        perturbations_per_eval=BATCH,
    )
    cells = lost[0, 0].view(CELLS, step, CELLS, step).mean((1, 3))
    return min_max(cells.cpu().numpy())
