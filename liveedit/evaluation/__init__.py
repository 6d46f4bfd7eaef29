"""Measuring: what edits change, what they leave alone, and what they cost."""

from liveedit.evaluation.backbone import evaluate_backbone
from liveedit.evaluation.lifelong import run_lifelong
from liveedit.evaluation.plan import LifelongOptions
from liveedit.evaluation.protocol import evaluate
from liveedit.evaluation.report import to_markdown, write_report

__all__ = ["LifelongOptions", "evaluate", "evaluate_backbone", "run_lifelong", "to_markdown", "write_report"]
