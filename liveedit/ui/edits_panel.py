"""The person's list of edits: each can be switched off and removed."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from liveedit.editors import LiveEdit
from liveedit.types import InputError
from liveedit.ui import session as actions
from liveedit.ui.markup import block, escape, shorten, thumbnail
from liveedit.ui.session import Session
from liveedit.ui.wiring import PROGRESS, Updates, Wiring, clicked, told

ORDER = (
    "Their order does not matter: each edit was made from the unedited model, and which of them answer is decided for each "
    "question. A new edit that asks the same of the same picture as an earlier one switches that off."
)
NO_EDITS = (
    '<p class="empty">None yet. Your edits stay in this browser tab. They are gone when you reload it, '
    "and when nothing was done here for an hour; <b>Keep and share</b> makes a file of them.</p>"
)

CHANGES: dict[str, Callable[[LiveEdit, Session, str], Session]] = {
    "switch": actions.switch, "remove": actions.remove, "undo": actions.undo,
}  # fmt: skip


def build_edits_panel(wiring: Wiring) -> gr.HTML:
    """The list of the person's edits, each with its switch and its remove button."""
    block("<h2>Your edits</h2>")
    edits = block(NO_EDITS, clicks=True, elem_id="edits")
    wiring.shows(edits, edits_html)
    return edits


def wire_edits_panel(
    wiring: Wiring, edits: gr.HTML, answers: gr.HTML, picture: gr.Image, question: gr.Textbox, edit_prompt: gr.Textbox
) -> None:
    """Switching, removing and undoing; the last question is asked again."""

    @told
    def on_edits(state: Session, event: gr.EventData, progress: gr.Progress = PROGRESS) -> Updates:
        progress(0.1, desc="Asking again")
        action, expert_id = clicked(event)
        change = CHANGES.get(action)
        if change is None:
            raise InputError("this button is unknown: reload the page")
        changed = change(wiring.editor, state, expert_id)
        if action != "undo" or state.earlier is None or state.earlier.place is None:
            return wiring.view(changed)
        # What was undone is the opening of another session, with its picture and its question.
        prompt = changed.asked.query.prompt if changed.asked else ""
        return {**wiring.view(changed), picture: changed.picture, question: prompt, edit_prompt: prompt}

    changed = edits.click(
        on_edits, wiring.session, [*wiring.shown, picture, question, edit_prompt], trigger_mode="multiple",
        **wiring.queued(show_progress_on=answers),
    )  # fmt: skip
    wiring.and_then(changed)


def edits_html(session: Session) -> str:
    """The edits, newest first, with the button that takes the last change back."""
    rows = [_row(session, expert.id) for expert in reversed(session.repository.experts)]
    listed = f'<ul class="edits">{"".join(rows)}</ul>' if rows else NO_EDITS
    hint = f'<p class="hint">{ORDER}</p>' if len(rows) > 1 else ""
    return _undo(session) + listed + hint


def _undo(session: Session) -> str:
    if session.earlier is None:
        return ""
    verb, sign = ("Redo", "↷") if session.earlier.undone else ("Undo", "↶")
    return (
        f'<button type="button" class="undo" data-action="undo"><span aria-hidden="true">{sign}</span> {verb}: '
        f"{escape(session.earlier.change)}</button>"
    )


def _row(session: Session, expert_id: str) -> str:
    expert = session.repository.get(expert_id)
    name, item = escape(session.name(expert_id)), escape(expert_id)
    prompt, target = escape(shorten(expert.edit.prompt, 80)), escape(shorten(expert.edit.target, 60))
    state = "on" if expert.active else "off"
    return (
        f'<li class="{state}">'
        f"{thumbnail(session.thumbnails[expert_id], '')}"
        f'<div class="what"><span class="name">{name}</span>'
        f'<span class="prompt">{prompt}</span><span class="target">{target}</span></div>'
        f'<div class="controls">'
        f'<button type="button" class="switch" role="switch" aria-checked="{str(expert.active).lower()}" '
        f'aria-label="{name} is {state}" data-action="switch" data-item="{item}"><span></span></button>'
        f'<button type="button" class="remove" aria-label="Remove {name}" title="Remove" '
        f'data-action="remove" data-item="{item}">Remove</button></div></li>'
    )
