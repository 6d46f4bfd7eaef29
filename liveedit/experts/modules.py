"""The trained modules of LiveEdit, and the residual they add: used alike by training and by inference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from liveedit.config import EditorConfig
from liveedit.experts.features import FeatureExtractor
from liveedit.experts.generator import ExpertGenerator, GeneratorInput
from liveedit.experts.routing import apply_residual


@dataclass
class FeatureBatch:
    """Routing features of B questions, each [B, k, d_m]: visual, the sentinel's under the same prompt, prompt."""

    visual: torch.Tensor
    threshold: torch.Tensor
    prompt: torch.Tensor


class LiveEditModules(nn.Module):
    """Expert generator, edit-side and input-side extractors, and the residual's LayerNorm (paper, Eqs. 1-6)."""

    def __init__(self, config: EditorConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = ExpertGenerator(config)
        self.edit_features = FeatureExtractor(config, sentinel=False)
        self.query_features = FeatureExtractor(config, sentinel=True)
        self.residual_norm = nn.LayerNorm(config.hidden_size)
        # Both sides start as one: a picture is most similar to itself before anything is learned.
        self.query_features.load_state_dict(self.edit_features.state_dict(), strict=False)

    def encode_edit(
        self, hidden: torch.Tensor, vision: torch.Tensor, prompt: torch.Tensor, whole_picture: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Edit-side features phi and psi [B, k, d_m] from states [B, T, d] and bool part masks [B, T].

        With ``whole_picture`` phi is made of the whole picture, not of what the prompt asks to look at.
        """
        seen, said = _columns(hidden, vision), _columns(hidden, prompt)
        extractor = self.edit_features
        if whole_picture:
            return extractor.whole(*seen), extractor.meaning(*said)
        return extractor.visual(extractor.attention_queries(*said), *seen), extractor.meaning(*said)

    def encode_query(
        self, hidden: torch.Tensor, vision: torch.Tensor, prompt: torch.Tensor, whole_picture: bool = False
    ) -> FeatureBatch:
        """Input-side features from states [B, T, d] and bool part masks [B, T]; ``whole_picture`` as on the edit side."""
        extractor = self.query_features
        seen, said = _columns(hidden, vision), _columns(hidden, prompt)
        if whole_picture:
            visual = extractor.whole(*seen)
            return FeatureBatch(visual, extractor.whole_threshold().expand_as(visual), extractor.meaning(*said))
        asked = extractor.attention_queries(*said)
        return FeatureBatch(
            extractor.visual(asked, *seen),
            extractor.threshold_feature(asked),
            extractor.meaning(*said),
        )

    def residual(self, hidden: torch.Tensor, U: torch.Tensor, V: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Hidden states [B, T, d] after Eq. 6, normed as in the released form; shapes of :func:`fused_residual`."""
        return apply_residual(hidden, self.residual_norm(hidden.float()), U, V, weight)


def _columns(hidden: torch.Tensor, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The positions that belong to a part in any row: states [B, t, d] and mask [B, t]; the rest need no keys.

    The mask is None where every row has all of them, as a single row always does.
    """
    wanted = part.any(0)
    mask = part[:, wanted]
    return hidden[:, wanted], None if mask.numel() and bool(mask.all()) else mask


def generator_input(
    vision: torch.Tensor, prompt: torch.Tensor, answer: torch.Tensor, hidden: torch.Tensor, embeddings: torch.Tensor
) -> GeneratorInput:
    """What the generator reads of edits whose answers end with the stop token.

    ``vision``, ``prompt``, ``answer`` bool [B, T] are the parts of the rows, ``hidden`` [B, T, d] layer-l_e states,
    ``embeddings`` [B, T, d] the input embeddings of the rows' tokens. The state at the stop token itself is left out:
    nothing of the answer follows it.
    """
    precedes = torch.zeros_like(answer)
    precedes[:, :-1] = answer[:, 1:]
    order = torch.where(precedes, precedes.long().cumsum(1), torch.zeros_like(answer, dtype=torch.long))
    following = torch.zeros_like(embeddings)
    following[:, :-1] = embeddings[:, 1:]
    return GeneratorInput(hidden, vision | prompt | (answer & precedes), following * precedes[..., None], order)
