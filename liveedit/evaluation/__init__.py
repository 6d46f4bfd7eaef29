"""Measuring: what edits change, what they leave alone, and what they cost."""

from liveedit.evaluation.backbone import evaluate_backbone
from liveedit.evaluation.protocol import evaluate
from liveedit.evaluation.report import to_markdown, write_report

__all__ = ["evaluate", "evaluate_backbone", "to_markdown", "write_report"]
