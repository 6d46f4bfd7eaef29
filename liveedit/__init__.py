"""LiveEdit Workbench: lifelong editing of vision-language models, one low-rank expert per edit."""

from liveedit.backbones import load_backbone
from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, Edit, LiveEditError, Query, RoutingTrace

__all__ = ["Answer", "Edit", "ExpertRepository", "LiveEdit", "LiveEditError", "Query", "RoutingTrace", "load_backbone"]
