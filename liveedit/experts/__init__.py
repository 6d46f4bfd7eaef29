"""Experts on plain tensors: attention, generator, feature extractors, routing, repository. No transformers."""

from liveedit.experts.features import FeatureExtractor
from liveedit.experts.generator import ExpertGenerator, GeneratorInput
from liveedit.experts.repository import Expert, ExpertRepository
from liveedit.experts.routing import Routing, apply_residual, route, similarity

__all__ = [
    "Expert",
    "ExpertGenerator",
    "ExpertRepository",
    "FeatureExtractor",
    "GeneratorInput",
    "Routing",
    "apply_residual",
    "route",
    "similarity",
]
