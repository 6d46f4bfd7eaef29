"""LiveEdit Workbench: lifelong editing of vision-language models, one low-rank expert per edit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liveedit.backbones import load_backbone
    from liveedit.editors import LiveEdit
    from liveedit.experts import ExpertRepository
    from liveedit.types import Answer, Edit, LiveEditError, Query, RoutingTrace

# Names are fetched on first use: torch and transformers take seconds that `--help` need not wait for.
_HOMES = {
    "Answer": "liveedit.types",
    "Edit": "liveedit.types",
    "ExpertRepository": "liveedit.experts",
    "LiveEdit": "liveedit.editors",
    "LiveEditError": "liveedit.types",
    "Query": "liveedit.types",
    "RoutingTrace": "liveedit.types",
    "load_backbone": "liveedit.backbones",
}

__all__ = [
    "Answer",
    "Edit",
    "ExpertRepository",
    "LiveEdit",
    "LiveEditError",
    "Query",
    "RoutingTrace",
    "load_backbone",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
