"""Experts on plain tensors: attention, generator, feature extractors, routing, repository. No transformers."""

from liveedit.experts.features import FeatureExtractor
from liveedit.experts.generator import ExpertGenerator, GeneratorInput
from liveedit.experts.repository import Expert, ExpertRepository
from liveedit.experts.routing import PAPER_ROUTING, Routing, RoutingStrategy, apply_residual, route, similarity

__all__ = [
    "PAPER_ROUTING",
    "Expert",
    "ExpertGenerator",
    "ExpertRepository",
    "FeatureExtractor",
    "GeneratorInput",
    "Routing",
    "RoutingStrategy",
    "apply_residual",
    "route",
    "similarity",
]
