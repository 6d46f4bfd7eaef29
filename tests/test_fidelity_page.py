"""docs/fidelity.md: every name it gives for where something is done exists."""

from __future__ import annotations

import dataclasses
import re
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

from liveedit import config

PAGE = Path(__file__).resolve().parents[1] / "docs" / "fidelity.md"


def named() -> list[str]:
    """What stands in backticks in the table's last column."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    cells = [row.rstrip().removesuffix("|").rsplit("|", 1)[1] for row in rows]
    found = [re.findall(r"`([^`]+)`", cell) for cell in cells]
    assert all(found), "every row says where"
    return sorted({name for names in found for name in names})


@pytest.mark.parametrize("name", named())
def test_the_named_thing_exists(name: str) -> None:
    owner, _, rest = name.partition(".")
    if hasattr(config, owner):
        assert rest in {field.name for field in dataclasses.fields(getattr(config, owner))}
        return
    folder, module, *attributes = name.split(".")
    if (PAGE.parents[1] / "liveedit" / f"{folder}.py").is_file():
        reduce(getattr, [module, *attributes], import_module(f"liveedit.{folder}"))
    else:
        assert attributes
        reduce(getattr, attributes, import_module(f"liveedit.{folder}.{module}"))
