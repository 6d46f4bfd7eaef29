"""A question as one HTML file that needs nothing else: picture, both answers, their tokens, and what routing decided."""

from __future__ import annotations

from datetime import datetime, timezone

from liveedit.types import ExpertTrace, InputError
from liveedit.ui.ask_panel import token_rows
from liveedit.ui.markup import escape, number, thumbnail
from liveedit.ui.pictures import data_uri
from liveedit.ui.session import Session
from liveedit.ui.wording import why

MOST_ROWS = 200
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; background: #fff; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; } caption { text-align: left; color: #566274; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-top: 1px solid #d4d7dd; vertical-align: middle; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
.thumb { width: 48px; height: 48px; object-fit: cover; border-radius: 6px; } .asked { max-width: 320px; border-radius: 8px; }
dt { color: #566274; } dd { margin: 0 0 0.6rem; font-weight: 600; } .note { color: #566274; font-size: 0.85rem; }
"""


def report_file(session: Session, model: str) -> bytes:
    """The report of the last question; ``model`` says which model answered. Raises InputError before any question."""
    asked = session.asked
    if asked is None:
        raise InputError("there is no answer to report yet: ask a question first")
    picture = ""
    if asked.query.image is not None:
        picture = f"<p>{thumbnail(data_uri(asked.query.image, 512), 'The picture that was asked about', 'asked')}</p>"
    known = {e.id for e in session.repository}
    rows = [row for row in asked.trace.experts if row.expert_id in known]
    rows = sorted(rows, key=lambda e: (not e.passed, -e.weight, -e.margin))[:MOST_ROWS]
    routed = "".join(_row(session, row) for row in rows)
    edits = "Edits" if asked.count is None else f"{asked.count} edits"
    left = " of those that are left" if asked.past else ""
    cut = f" The {len(rows)} that came nearest{left} are listed." if asked.count != len(rows) else ""
    outdated = '<p class="note">The edits have changed since this was answered.</p>' if session.outdated else ""
    table = (
        f"<table><caption>{edits}, those that passed hard routing first.{cut}</caption><thead><tr>"
        '<th scope="col">Picture</th><th scope="col">Edit</th><th scope="col">Visual similarity</th><th scope="col">Threshold</th>'
        '<th scope="col">Margin</th><th scope="col">Passed</th><th scope="col">Prompt similarity</th>'
        f'<th scope="col">Weight</th></tr></thead><tbody>{routed}</tbody></table>'
        if routed
        else ""
    )
    html = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>LiveEdit Workbench: report</title>'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<style>{STYLE}</style></head><body><h1>{escape(asked.query.prompt)}</h1>{picture}{outdated}"
        f"<dl><dt>The unedited model answered</dt><dd>{escape(asked.base.text) or '(no words)'}</dd>"
        f"<dt>With the edits it answered</dt><dd>{escape(asked.edited.text) or '(no words)'}</dd></dl>"
        f"<h2>Why</h2><p>{escape(why(session))}</p>{table}"
        "<h2>Word by word</h2><p class=\"note\">The probability of each part of the answers under the unedited model (before) "
        f"and with the edits (after), given the parts before it.</p>{token_rows(asked.comparison)}"
        f'<p class="note">{escape(model)}. Written by LiveEdit Workbench on '
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC.</p></body></html>"
    )
    return html.encode()


def _row(session: Session, row: ExpertTrace) -> str:
    edit = session.repository.get(row.expert_id).edit
    passed = "yes" if row.passed else "no" if row.active else "off"
    cells = [
        number(row.visual_similarity, 3), number(row.threshold, 3), number(row.margin, 3), passed,
        number(row.prompt_similarity, 3), number(row.weight) if row.passed else "–",
    ]  # fmt: skip
    return (
        f"<tr><td>{thumbnail(session.thumbnails[row.expert_id], '')}</td><th scope=\"row\">{escape(session.name(row.expert_id))}: "
        f"{escape(edit.prompt)} → {escape(edit.target)}</th>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
    )
