"""Backbones: one adapter over transformers' image-text-to-text models, and ``load_backbone``."""

from liveedit.backbones.base import Backbone, EncodedBatch, tensors_digest
from liveedit.backbones.loading import load_backbone

__all__ = ["Backbone", "EncodedBatch", "load_backbone", "tensors_digest"]
