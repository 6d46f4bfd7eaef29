"""The paper's studies: variants of an editor, or several trained editors, side by side under the lifelong protocol.

Each variant is a lifelong evaluation in a folder of its own (so a study is resumable); they share the unedited
answers and meet the same samples. Variants of a trained editor need no training; what does (the losses, sizes and
layers of Section 5.3 and Table 2) is given as folders of trained editors with a label each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liveedit.editors import Editor, LiveEdit
from liveedit.evaluation.benchmarks import Source
from liveedit.evaluation.lifelong import run_lifelong
from liveedit.evaluation.plan import LifelongOptions
from liveedit.evaluation.store import write_json
from liveedit.experts import PAPER_ROUTING, RoutingStrategy
from liveedit.types import InputError

FORMAT = "liveedit-study-1"
RESULT = "study.json"
SETTINGS = ("layer", "module_dim", "rank", "queries", "heads", "generator_signal", "visual_feature")

Progress = Callable[[int, int, str], None]

STRATEGIES: dict[str, RoutingStrategy] = {
    "hard + soft": PAPER_ROUTING,
    "soft only": RoutingStrategy(sentinel=False),
    "nearest four": RoutingStrategy(sentinel=False, nearest=4),
    "nearest one": RoutingStrategy(sentinel=False, nearest=1, soft=False),
    "hard, nearest one": RoutingStrategy(nearest=1, soft=False),
}
ABLATIONS: dict[str, RoutingStrategy] = {
    "LiveEdit": PAPER_ROUTING,
    "- SR": RoutingStrategy(soft=False),
    "HR* (not trained for it)": RoutingStrategy(whole_picture=True),
}


@dataclass(frozen=True)
class Study:
    """What a study compares: ``strategies`` of one trained editor, and the trained editors that are given.

    ``by`` names the setting of the editors' configurations that its figure has as horizontal axis, ``note`` is
    printed under its tables.
    """

    help: str
    strategies: Mapping[str, RoutingStrategy]
    by: str = ""
    note: str = ""


STUDIES: dict[str, Study] = {
    "routing": Study("routing strategies in quality and cost", STRATEGIES),
    "ablation": Study(
        "Table 2: without soft routing (- SR), whole pictures in hard routing (HR*); trained ablations with --editors",
        ABLATIONS,
        note="HR* compares whole pictures (every visual token weighs the same) with the weights as they were trained, "
        "for prompts; the paper's HR* is trained for it. Without l_sr1, without l_sr2 and a trained HR* are given "
        "as folders.",
    ),
    "size": Study("Figure 3: module dimension d_m and rank r; trained editors with --editors", {}),
    "queries": Study("Figure 4: number k of learned queries; trained editors with --editors", {}, "queries"),
    "layer": Study("Figure 5: layer l_e that experts act on; trained editors with --editors", {}, "layer"),
    "editors": Study("any trained editors side by side, as layer l_e applied twice in training or not", {}),
}


@dataclass(frozen=True)
class Variant:
    """One row of a study: its label, and how to make its editor."""

    label: str
    make: Callable[[], Editor[Any]]


def variants_of(
    study: Study, base: Callable[[], LiveEdit], trained: Mapping[str, Callable[[], Editor[Any]]]
) -> list[Variant]:
    """The study's strategies over the editor that ``base`` loads, then the ``trained`` ones by label."""

    def strategy(routing: RoutingStrategy) -> Callable[[], Editor[Any]]:
        return lambda: base().with_routing(routing)

    found = [Variant(label, strategy(routing)) for label, routing in study.strategies.items()]
    found += [Variant(label, make) for label, make in trained.items()]
    names = [slug(variant.label) for variant in found]
    for variant in found:
        if names.count(slug(variant.label)) > 1:
            raise InputError(f"two variants are called {variant.label!r}: give each trained editor a label of its own")
    if not found:
        raise InputError("this study compares trained editors: name them with --editors LABEL=FOLDER ...")
    return found


def run_study(
    name: str,
    variants: Sequence[Variant],
    source: Source,
    options: LifelongOptions,
    folder: str | Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate every variant; returns the result, which is also written to ``folder/study.json``.

    Its ``results`` are lifelong evaluations, each with ``setting``: the strategy and the editor's configuration.
    """
    folder = Path(folder)
    results = []
    for variant in variants:
        editor = variant.make()
        result = run_lifelong(
            editor,
            source,
            options,
            folder / slug(variant.label),
            "liveedit",
            variant.label,
            folder / "unedited",
            progress,
        )
        results.append({**result, "setting": setting_of(editor)})
    study = {
        "format": FORMAT,
        "study": name,
        "help": STUDIES[name].help,
        "note": STUDIES[name].note,
        "results": results,
    }
    write_json(folder / RESULT, study)
    return study


def setting_of(editor: Editor[Any]) -> dict[str, Any]:
    """What tells a variant from another: the configuration, the routing strategy, trained parameters."""
    if not isinstance(editor, LiveEdit):
        return {}
    config = {name: getattr(editor.config, name) for name in SETTINGS}
    parameters = sum(p.numel() for p in editor.modules.parameters())
    return {**config, "routing": asdict(editor.routing), "parameters": parameters}


def slug(label: str) -> str:
    """A label as the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "variant"
