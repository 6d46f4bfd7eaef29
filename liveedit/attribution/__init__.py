"""Attribution: which regions of a picture made a feature, selected an expert, or spoke for an answer.

Arrays out, never figures.
"""

from liveedit.attribution.analysis import analyse, expert_instances, nearest_experts, note_of, question_instance
from liveedit.attribution.methods import METHODS, attribute, default_method, fits
from liveedit.attribution.result import Attribution
from liveedit.attribution.targets import SIDES, TARGETS, Instance

__all__ = [
    "METHODS",
    "SIDES",
    "TARGETS",
    "Attribution",
    "Instance",
    "analyse",
    "attribute",
    "default_method",
    "expert_instances",
    "fits",
    "nearest_experts",
    "note_of",
    "question_instance",
]
