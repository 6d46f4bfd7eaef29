"""The layers of the code: imports point down only, and the core does without the page's library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "liveedit"

# Folder or module of the package -> its layer. The package's own __init__ only re-exports, on demand.
LAYERS = {
    "types": 0, "config": 0, "configs": 0, "files": 0, "hooks": 0, "pictures": 0,
    "backbones": 1, "experts": 1, "losses": 1, "data": 1, "world": 1,
    "editors": 2,
    "training": 3, "evaluation": 3, "attribution": 3,
    "cli": 4, "ui": 4,
    "__main__": 5,
}  # fmt: skip
# The command that serves the page has to start the page; the losses are written in the routing's similarity.
ALLOWED = {("cli/serve.py", "ui"), ("losses.py", "experts")}
# Modules of the lowest layer that the lowest layer may use.
BASE = {"types", "config"}


def modules() -> list[Path]:
    """Every module of the package but its __init__."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def unit_of(path: Path) -> str:
    """The folder or top-level module that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, at its head or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_part_of_the_package_has_a_layer() -> None:
    assert {unit_of(path) for path in modules()} <= set(LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    unit = unit_of(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "liveedit" or len(parts) < 2 or parts[1] == unit or parts[1] not in LAYERS:
            continue
        target = parts[1]
        if (str(path.relative_to(PACKAGE)), target) in ALLOWED:
            continue
        lower = LAYERS[target] < LAYERS[unit] or (LAYERS[unit] == 0 and target in BASE)
        assert lower, f"{path.relative_to(ROOT)} (layer {LAYERS[unit]}) imports {name} (layer {LAYERS[target]})"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_page_imports_gradio(path: Path) -> None:
    if unit_of(path) != "ui":
        assert not any(name.split(".")[0] == "gradio" for name in imported(path))


def test_experts_do_without_transformers() -> None:
    for path in (PACKAGE / "experts").glob("*.py"):
        assert not any(name.split(".")[0] == "transformers" for name in imported(path))


def test_hooks_are_registered_in_one_place_only() -> None:
    users = [p for p in modules() if "register_forward" in p.read_text(encoding="utf-8")]
    assert [p.name for p in users] == ["hooks.py"]


def test_the_core_imports_with_gradio_blocked() -> None:
    names = [
        ".".join(("liveedit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in modules()
        if LAYERS[unit_of(path)] < 5 and unit_of(path) != "ui"
    ]
    code = (
        "import sys, importlib\n"
        "sys.modules['gradio'] = None\n"
        f"for name in {names!r}:\n    importlib.import_module(name)\n"
        "from liveedit import LiveEdit, Edit, ExpertRepository, load_backbone\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_itself_imports_without_torch() -> None:
    code = "import sys, liveedit; assert 'torch' not in sys.modules; liveedit.Edit; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
