"""A person's edits given to every editor that can be used here, and the same questions asked of each.

Each editor starts from nothing and takes the edits one after another; then every edit is asked about on its picture,
reworded, on altered pictures, and its neighbours are compared with what the unedited model says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image

from liveedit.backbones import Backbone
from liveedit.configs import TRAINED
from liveedit.editors import EDITORS, Editor, LiveEdit
from liveedit.evaluation.editors_report import LABELS
from liveedit.evaluation.metrics import exact_match
from liveedit.evaluation.probing import GROUPS, HOLDS, questions_about
from liveedit.types import Edit, LiveEditError, Query
from liveedit.ui.markup import escape, sentence, shorten
from liveedit.ui.spaces import on_gpu

MOST_EDITS = 5  # the newest; some editors need seconds for one edit, and others wait meanwhile
SECONDS = 60.0  # no further editor is begun after this
HEADS = {
    "picture": ("On its picture", "the new answer"),
    "rewording": ("Reworded", "the new answer"),
    "altered": ("Altered picture", "the new answer"),
    "same picture": ("Other question", "answered as before"),
    "same question": ("Other picture", "answered as before"),
}

# (how many held, of how many) by group
Counts = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Tried:
    """One editor's result: counts for each edit, seconds for all edits; or why it was not tried."""

    name: str
    edits: Sequence[Counts] = ()
    seconds: float = 0.0
    reason: str = ""

    def total(self, group: str) -> tuple[int, int]:
        """How many questions of a group held over all edits, of how many."""
        rows = [counts[group] for counts in self.edits if group in counts]
        return sum(held for held, _ in rows), sum(count for _, count in rows)


@dataclass
class Usable:
    """The editors that can be used over a backbone, and why the others cannot."""

    editors: dict[str, Editor[Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def title_of(name: str) -> str:
    """An editor's name as tables have it."""
    return LABELS.get(name, name)


def editor_names(registry: Mapping[str, Any] = EDITORS) -> list[str]:
    """All registered editors, LiveEdit and the unedited model first: they are quick, and the others are compared to them."""
    return sorted(registry, key=lambda name: (name != "liveedit", name != "unedited"))


def checkpoint_of(name: str, backbone: Backbone, checkpoints: Path) -> Path | None:
    """The folder of an editor that was trained for the backbone: ``BACKBONE-NAME`` or ``baselines/NAME``, if there is one."""
    folders = (checkpoints / f"{Path(backbone.name).name}-{name}", checkpoints / "baselines" / name)
    return next((folder for folder in folders if folder.is_dir()), None)


def ready_names(backbone: Backbone, checkpoints: Path) -> list[str]:
    """Those of :func:`editor_names` that need no training, or have a checkpoint."""
    return [
        name
        for name in editor_names()
        if name not in TRAINED or checkpoint_of(name, backbone, checkpoints) is not None
    ]


def usable_editors(
    current: LiveEdit, checkpoints: Path, names: Sequence[str], registry: Mapping[str, Any] = EDITORS
) -> Usable:
    """Those of the named editors that need no training or have a checkpoint, over the page's own backbone.

    The page's own editor is used as it is.
    """
    found = Usable()
    for name in names:
        kind = registry[name]
        if isinstance(kind, type) and isinstance(current, kind):
            found.editors[name] = current
            continue
        try:
            place = checkpoint_of(name, current.backbone, checkpoints) or ""
            found.editors[name] = kind.from_pretrained(place, current.backbone)
        except LiveEditError as error:
            found.reasons[name] = str(error)
    return found


def try_editors(
    usable: Usable, edits: Sequence[Edit], others: Sequence[tuple[str, Image]] = (), seconds: float = SECONDS
) -> Iterator[Tried]:
    """Each editor's result as it is found; ``others`` are pictures on which no edit should show."""
    begin = time.perf_counter()
    questions = [questions_about(edit, others) for edit in edits]
    asked = [query for rows in questions for _, _, query in rows]
    before: list[str] | None = None
    for name, editor in usable.editors.items():
        if time.perf_counter() - begin > seconds:
            yield Tried(name, reason=f"not begun, since {seconds:.0f} seconds had passed")
            continue
        try:
            if before is None:
                before = _said(editor, None, asked)
            state = editor.empty()
            started = time.perf_counter()
            editor.edit(state, edits)
            spent = time.perf_counter() - started
            said = iter(_said(editor, state, asked))
        except LiveEditError as error:
            yield Tried(name, reason=str(error))
            continue
        unedited = iter(before)
        yield Tried(
            name, [_counts(edit, rows, said, unedited) for edit, rows in zip(edits, questions, strict=True)], spent
        )  # fmt: skip
    for name, reason in usable.reasons.items():
        yield Tried(name, reason=reason)


@on_gpu("compare")
def try_here(
    current: LiveEdit,
    checkpoints: Path,
    names: Sequence[str],
    edits: Sequence[Edit],
    others: Sequence[tuple[str, Image]] = (),
) -> Iterator[tuple[Tried, list[str]]]:
    """Each result of the named editors over the page's backbone as it is found, and their names in that order."""
    usable = usable_editors(current, checkpoints, names)
    for result in try_editors(usable, edits, others):
        yield result, [*usable.editors, *usable.reasons]


def _said(editor: Editor[Any], state: Any, queries: Sequence[Query]) -> list[str]:
    answers = editor.answer(state, list(queries))
    return [answer.text for answer in answers]


def _counts(
    edit: Edit, rows: Sequence[tuple[str, str, Query]], said: Iterator[str], unedited: Iterator[str]
) -> Counts:
    """One edit's questions judged: by the new answer, or by what the unedited model says."""
    found: Counts = {}
    for group, _, _ in rows:
        now, before = next(said), next(unedited)
        right = bool(exact_match(now, edit.target)) if group in HOLDS else now == before
        held, count = found.get(group, (0, 0))
        found[group] = held + right, count + 1
    return found


def trial_html(edits: Sequence[tuple[str, Edit]], results: Sequence[Tried], left_out: int = 0, done: bool = True) -> str:
    """All edits together for each editor, then each edit for itself; ``edits`` are given with their names."""
    tried = [result for result in results if result.edits]
    groups = [group for group in GROUPS if any(result.total(group)[1] for result in tried)]
    heads = "".join(f'<th scope="col">{HEADS[g][0]}<small>{HEADS[g][1]}</small></th>' for g in groups)
    rows = "".join(
        f'<tr><th scope="row">{escape(title_of(result.name))}</th>{"".join(_share(*result.total(g)) for g in groups)}'
        f"<td>{result.seconds:.2f} s</td></tr>"
        for result in tried
    )
    count = len(edits)
    which = "the edit" if count == 1 else f"{count} edits"
    newest = f" (the newest; {left_out:,} older ones are not tried)" if left_out else ""
    said = f"{which.capitalize()}{newest} given to each editor one after another, then all asked about."
    skipped = "".join(f"<li><b>{escape(title_of(r.name))}</b>: {escape(sentence(r.reason))}</li>" for r in results if r.reason)
    waiting = "" if done else '<p class="hint" role="status">The next editor is being tried…</p>'
    if not tried:
        none = '<p class="hint" role="status">None of the chosen editors could be tried:</p>' if done else ""
        return f'{none}<ul class="skipped">{skipped}</ul>{waiting}'
    return (
        f'<p class="hint" role="status">{said}</p><div class="scroll" tabindex="0" role="region" aria-label="Editors compared">'
        f'<table class="plain trial"><thead><tr><th scope="col">Editor</th>{heads}<th scope="col">Time<small>for the edits'
        f"</small></th></tr></thead><tbody>{rows}</tbody></table></div>{waiting}{_each(edits, tried, groups)}"
        + (f'<details class="twin"><summary>Editors not tried</summary><ul class="skipped">{skipped}</ul></details>' if skipped else "")
    )


def _each(edits: Sequence[tuple[str, Edit]], tried: Sequence[Tried], groups: Sequence[str]) -> str:
    """The same, edit by edit."""
    rows = []
    for number, (name, edit) in enumerate(edits):
        what = f"{name}: {shorten(edit.prompt, 40)} → {shorten(edit.target, 30)}"
        rows.append(f'<tr><th scope="rowgroup" colspan="{len(groups) + 1}" class="which">{escape(what)}</th></tr>')
        for result in tried:
            cells = "".join(_share(*result.edits[number].get(g, (0, 0))) for g in groups)
            rows.append(f'<tr><th scope="row">{escape(title_of(result.name))}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{HEADS[g][0]}</th>' for g in groups)
    return (
        '<details class="twin"><summary>Edit by edit</summary><div class="scroll" tabindex="0" role="region" '
        'aria-label="Editors compared, edit by edit"><table class="plain trial"><thead><tr><th scope="col">Editor</th>'
        f'{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></details>'
    )


def _share(held: int, count: int) -> str:
    """How many held, with a sign that says it without colour."""
    if not count:
        return "<td>–</td>"
    state, sign = ("all", "✓") if held == count else ("none", "✕") if not held else ("some", "◐")
    return f'<td class="{state}"><span aria-hidden="true">{sign}</span> {held} of {count}</td>'
