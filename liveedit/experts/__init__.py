"""Experts on plain tensors: attention, generator, feature extractors, routing, repository, the authors' checkpoint.

No transformers.
"""

from liveedit.experts.features import FeatureExtractor
from liveedit.experts.generator import ExpertGenerator, GeneratorInput
from liveedit.experts.reference import ReferenceEditor, ReferenceExpert, ReferenceTrace, load_reference
from liveedit.experts.repository import Expert, ExpertRepository
from liveedit.experts.repository_file import STORED_SIDE, Limits, bytes_of_one
from liveedit.experts.routing import PAPER_ROUTING, Routing, RoutingStrategy, apply_residual, route, similarity

__all__ = [
    "PAPER_ROUTING",
    "STORED_SIDE",
    "Expert",
    "ExpertGenerator",
    "ExpertRepository",
    "FeatureExtractor",
    "GeneratorInput",
    "Limits",
    "ReferenceEditor",
    "ReferenceExpert",
    "ReferenceTrace",
    "Routing",
    "RoutingStrategy",
    "apply_residual",
    "bytes_of_one",
    "load_reference",
    "route",
    "similarity",
]
