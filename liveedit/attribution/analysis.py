"""Instance analysis (paper, Section 5.5 and Figure 6): a question and the experts that routing had nearest to it.

Which picture speaks of an expert depends on the target. Its own picture shows what made the edit's key visual
feature, and what the edited model's answer to the edit's own prompt rests on; why a question selected the expert
shows in the question's picture, once for every expert.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from liveedit.attribution.methods import METHODS, attribute
from liveedit.attribution.result import Attribution
from liveedit.attribution.targets import TARGETS, Instance
from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Answer, ExpertTrace, Query, RoutingTrace

TOP = 3


def nearest_experts(trace: RoutingTrace, count: int = TOP) -> list[ExpertTrace]:
    """The top experts by hard routing: of those that are on, the ones with the largest margin."""
    return sorted((row for row in trace.experts if row.active), key=lambda row: -row.margin)[:count]


def question_instance(
    query: Query, target: str, repository: ExpertRepository, base: Answer | None = None, edited: Answer | None = None
) -> Instance | None:
    """What is explained on the question's picture; None for the routing margin, which belongs to each expert."""
    if target == "margin" or query.image is None:
        return None
    return Instance(
        query.image,
        query.prompt,
        repository=repository,
        base=base.tokens if base else None,
        edited=edited.tokens if edited else None,
    )


def expert_instances(
    query: Query, target: str, repository: ExpertRepository, ids: Sequence[str]
) -> dict[str, Instance]:
    """What is explained for each expert, by its id."""
    found = {}
    for expert_id in ids:
        edit = repository.get(expert_id).edit
        if target == "margin":
            if query.image is not None:
                found[expert_id] = Instance(query.image, query.prompt, repository=repository, expert_id=expert_id)
        else:
            side = "edit" if target == "feature" else "query"
            found[expert_id] = Instance(edit.image, edit.prompt, side, repository=repository)
    return found


def analyse(
    editor: LiveEdit,
    instances: Mapping[str, Instance],
    method: str = "tokens",
    target: str = "feature",
    seed: int = 0,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Attribution]:
    """The attributions of named instances."""
    found = attribute(editor, list(instances.values()), method, target, seed, told)
    return dict(zip(instances, found, strict=True))


def note_of(found: Attribution) -> str:
    """How a heatmap was made, a line each: method and target, forward passes and seconds, what the model never saw."""
    passes = "forward pass" if found.forwards == 1 else "forward passes"
    labels = f"{METHODS[found.method].label}, {TARGETS[found.target].label.lower()}"
    cropped = "\nwithout colour: cropped away" if found.cropped else ""
    return f"{labels}\n{found.forwards} {passes}, {found.seconds:.2f} s{cropped}"
