"""The ledger: what routing decided for every edit, sorted, filtered and cut into pages before any HTML is made.

A browser draws a page of rows at once, however many edits there are; a row opens into the edit itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from liveedit.experts.repository import Expert
from liveedit.types import ExpertTrace, InputError, RoutingTrace
from liveedit.ui.expert_card import CardMap, card_html
from liveedit.ui.markup import escape, number, shorten, thumbnail
from liveedit.ui.session import Session

PAGE = 25
MAX_FILTER = 200  # characters that are searched for; nobody types more, a script may

# Key (a field of the trace), head of the column, and what the number means.
COLUMNS: dict[str, tuple[str, str]] = {
    "name": ("Edit", "The edit: its picture, the prompt and the new answer."),
    "visual_similarity": (
        "Visual similarity",
        "How much what the question looks at in its picture resembles what the edit looked at in its own: "
        "the inner product of their visual features, averaged over the learned queries.",
    ),
    "threshold": (
        "Threshold",
        "The similarity between the question's visual feature and the sentinel's, a learned picture of nothing in "
        "particular, less a constant of the editor. It belongs to the question and is the same for every edit.",
    ),
    "margin": ("Margin", "Visual similarity minus threshold. Above zero the edit passes hard routing."),
    "passed": ("Passed", "Whether the edit passed hard routing and is switched on."),
    "prompt_similarity": (
        "Prompt similarity",
        "How much the question's words resemble the edit's prompt: the inner product of their prompt features.",
    ),
    "absolute": ("Absolute", "The prompt similarity squeezed between 0 and 1 by a sigmoid, whatever the other edits are."),
    "relative": ("Relative", "The edit's share among those that passed: a softmax over their prompt similarities."),
    "weight": (
        "Weight",
        "Absolute times relative, the final weight: the edit's residual is added to the model's states this many times. "
        "A scale that a what-if or a file of edits sets is a factor of it, too.",
    ),
}  # fmt: skip
DIGITS = {"absolute": 2, "relative": 2, "weight": 2}
WORDS = {"passed": "✓ yes", "stopped": "✕ no", "off": "○ off", "without": "⊘ left out", "idle": "–"}


@dataclass(frozen=True)
class LedgerView:
    """How one person looks at the ledger; kept apart from the session, so that no model call overwrites it.

    ``opened`` is the edit whose row is open, ``without`` the edits left out in a what-if.
    """

    sort: str = "weight"
    descending: bool = True
    page: int = 0
    opened: str = ""
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """One edit with what routing decided for it (None before a question with a picture); ``shift`` is the margin's."""

    expert: Expert
    trace: ExpertTrace | None
    name: str
    place: int
    shift: float = 0.0

    def value(self, column: str) -> float:
        """What the row is sorted by."""
        if column == "name":
            return float(self.place)
        if self.trace is None:
            return 0.0
        return float(getattr(self.trace, column)) + (self.shift if column == "margin" else 0.0)


def rows_of(session: Session, trace: RoutingTrace | None, text: str = "", passed_only: bool = False) -> list[Row]:
    """The edits whose name, prompt or answer contains ``text``, in the order in which they were made."""
    traces = {row.expert_id: row for row in trace.experts} if trace is not None else {}
    sought = " ".join(text[:MAX_FILTER].casefold().split())
    shift = trace.margin_shift if trace is not None else 0.0
    found = []
    for place, expert in enumerate(session.repository):
        row = Row(expert, traces.get(expert.id), session.name(expert.id), place, shift)
        if passed_only and not (row.trace is not None and row.trace.passed):
            continue
        words = f"{row.name} {expert.edit.prompt} {expert.edit.target}".casefold()
        if sought in " ".join(words.split()):
            found.append(row)
    return found


def sorted_rows(rows: list[Row], view: LedgerView) -> list[Row]:
    """Sorted by the view's column; equal ones by what they weigh, then by how near they came to passing."""
    rows = sorted(rows, key=lambda row: (row.value("passed"), row.value("weight"), row.value("margin")), reverse=True)
    return sorted(rows, key=lambda row: row.value(view.sort), reverse=view.descending)


def page_with(session: Session, trace: RoutingTrace | None, view: LedgerView, expert_id: str) -> int:
    """The page on which an edit lies when nothing is filtered."""
    rows = sorted_rows(rows_of(session, trace), view)
    return next((i for i, row in enumerate(rows) if row.expert.id == expert_id), 0) // PAGE


def acted(view: LedgerView, action: str, item: str, ids: frozenset[str]) -> LedgerView:
    """The view after a click: sort, page, open or close a row, leave an edit out or put it back."""
    values = {**vars(view)}
    if action == "sort" and item in COLUMNS:
        # Numbers are mostly read from the largest down, names from the first up.
        again = view.sort == item
        values.update(sort=item, descending=not view.descending if again else item != "name", page=0)
    elif action == "page" and item in ("first", "back", "on", "last"):
        values["page"] = {"first": 0, "back": view.page - 1, "on": view.page + 1, "last": len(ids)}[item]
    elif action == "expert" and item in ids:
        values["opened"] = "" if view.opened == item else item
    elif action == "without" and item in ids:
        values["without"] = view.without ^ {item}
    else:
        raise InputError("there is no such edit or column any more: reload the page")
    return LedgerView(**values)


def ledger_html(
    session: Session,
    trace: RoutingTrace | None,
    view: LedgerView,
    text: str = "",
    passed_only: bool = False,
    heatmaps: Mapping[str, CardMap] | None = None,
    trying: bool = False,
) -> str:
    """One page of the ledger as a table; ``heatmaps`` are the maps by edit id, for the row that is open.

    ``trying`` says that ``trace`` is a what-if's, and not that of the answer.

    Roles are spelled out because the narrow layout shows rows as cards, which would lose them.
    """
    total = len(session.repository)
    if not total:
        return '<p class="empty">No edits yet: once there are, each has a row here with all its numbers.</p>'
    rows = sorted_rows(rows_of(session, trace, text, passed_only), view)
    pages = max(1, -(-len(rows) // PAGE))
    page = min(max(view.page, 0), pages - 1)
    shown = rows[page * PAGE : (page + 1) * PAGE]
    if not rows:
        asked = " passed" if passed_only else ""
        what = f" with “{escape(shorten(text, 40))}” in it" if text.strip() else ""
        return f'<p class="empty" role="status">None of {_edits(total)}{asked}{what}.</p>'
    body = "".join(_row_html(session, row, view, (heatmaps or {}).get(row.expert.id), trying) for row in shown)
    heads = "".join(_head(key, view) for key in COLUMNS)
    return (
        f'<table class="ledger" role="table"><caption>{_edits(total).capitalize()} and what routing decided for each'
        f'</caption><thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>{_pager(page, pages, len(rows), total)}'
    )


def explanation_html() -> str:
    """What each number means, as a list that can be opened."""
    items = "".join(f"<dt>{escape(head)}</dt><dd>{escape(text)}</dd>" for head, text in COLUMNS.values())
    return f'<details class="explain"><summary>What each number means</summary><dl>{items}</dl></details>'


def _edits(count: int) -> str:
    return "one edit" if count == 1 else f"{count:,} edits"


def _head(key: str, view: LedgerView) -> str:
    head, text = COLUMNS[key]
    chosen = view.sort == key
    order = ("descending" if view.descending else "ascending") if chosen else "none"
    sign = ("▼" if view.descending else "▲") if chosen else "↕"
    return (
        f'<th role="columnheader" scope="col" aria-sort="{order}" class="{key}"><button type="button" '
        f'data-action="sort" data-item="{key}" title="{escape(text)}">{escape(head)}'
        f'<span class="order" aria-hidden="true">{sign}</span></button></th>'
    )


def _pager(page: int, pages: int, found: int, total: int) -> str:
    """Which rows are shown of how many, and buttons to the others."""
    first, last = page * PAGE + 1, min((page + 1) * PAGE, found)
    range_ = f"{first:,} to {last:,} of {found:,}" if pages > 1 else f"{_edits(found)} shown"
    told = f"{range_}, {total:,} in all" if found < total else range_
    if pages == 1:
        return f'<p class="hint" role="status">{told}.</p>' if found < total else ""
    buttons = "".join(
        f'<button type="button" data-action="page" data-item="{item}"{" disabled" if off else ""}>{word}</button>'
        for item, word, off in (
            ("first", "First", page == 0),
            ("back", "Back", page == 0),
            ("on", "Next", page == pages - 1),
            ("last", "Last", page == pages - 1),
        )
    )
    return f'<nav class="pager" aria-label="Pages of the ledger"><span role="status">{told}</span>{buttons}</nav>'


def _state(row: Row, view: LedgerView) -> str:
    if row.expert.id in view.without:
        return "without"
    # A question that was asked under other edits met those that were on then.
    if not (row.trace or row.expert).active:
        return "off"
    if row.trace is None:
        return "idle"
    return "passed" if row.trace.passed else "stopped"


def _row_html(session: Session, row: Row, view: LedgerView, heatmap: CardMap | None, trying: bool) -> str:
    """A row of numbers; opened, the edit follows in a row of its own."""
    expert, state, item = row.expert, _state(row, view), escape(row.expert.id)
    opened = view.opened == expert.id
    what = (
        f'<th role="rowheader" scope="row"><div class="edit-cell">{thumbnail(session.thumbnails.get(expert.id, ""), "")}'
        f'<span><button type="button" class="name" data-action="expert" data-item="{item}" '
        f'aria-expanded="{str(opened).lower()}">{escape(row.name)}</button>'
        f"<span>{escape(shorten(expert.edit.prompt, 60))}</span>"
        f'<span class="target">{escape(shorten(expert.edit.target, 40))}</span></span></div></th>'
    )
    cells = "".join(
        f'<td role="cell" data-label="{head}" class="{key}">{_cell(key, row, state)}</td>'
        for key, (head, _) in COLUMNS.items()
        if key != "name"
    )
    html = (
        f'<tr role="row" class="{state}{" opened" if opened else ""}" data-action="expert" data-item="{item}">'
        f"{what}{cells}</tr>"
    )
    if opened:
        card = card_html(session, expert.id, heatmap, expert.id in view.without, trying)
        html += f'<tr role="row" class="detail"><td role="cell" colspan="{len(COLUMNS)}">{card}</td></tr>'
    return html


def _cell(key: str, row: Row, state: str) -> str:
    """One number; what an edit that did not pass has no share in is a dash."""
    if key == "passed":
        return WORDS[state]
    if row.trace is None or (key in ("relative", "weight") and not row.trace.passed):
        return "–"
    return number(row.value(key), DIGITS.get(key, 3))
