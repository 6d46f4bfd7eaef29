"""The list of the session's questions, folded away below the answers; a click opens one as it was."""

from __future__ import annotations

import gradio as gr

from liveedit.ui import session as actions
from liveedit.ui.history import Past, edits_digest
from liveedit.ui.markup import block, escape, shorten, thumbnail
from liveedit.ui.session import Session
from liveedit.ui.wiring import Updates, Wiring, clicked, told


def build_history_panel(wiring: Wiring) -> gr.HTML:
    """The list, empty at first."""
    history = block(clicks=True, elem_id="history")
    wiring.shows(history, history_html)
    return history


def wire_history_panel(wiring: Wiring, history: gr.HTML, picture: gr.Image, question: gr.Textbox, edit_prompt: gr.Textbox) -> None:
    """Opening a question brings back its picture, its words and both answers."""

    @told
    def on_reopen(state: Session, event: gr.EventData) -> Updates:
        # The list may have grown since it was drawn, so a question is known by what it is and not by its place.
        wanted = clicked(event)[1]
        number = next((i for i, past in enumerate(state.history) if past.key == wanted), len(state.history))
        state = actions.reopen(wiring.editor, state, number)
        prompt = state.asked.query.prompt if state.asked else ""
        return {**wiring.view(state), picture: state.picture, question: prompt, edit_prompt: prompt}

    opened = history.click(
        on_reopen, wiring.session, [*wiring.shown, picture, question, edit_prompt], **wiring.queued(show_progress="hidden")
    )  # fmt: skip
    wiring.and_then(opened)


def history_html(session: Session) -> str:
    """The questions, newest first; those that were asked under other edits say so."""
    if not session.history:
        return ""
    now = edits_digest(session.repository)
    rows = "".join(_row(past, past.edits == now) for past in session.history)
    count = len(session.history)
    kept = " (older ones are no longer kept)" if session.forgotten else ""
    return (
        f'<details class="more"><summary>Questions so far: {count}{kept}</summary>'
        f'<ul class="history">{rows}</ul></details>'
    )


def _row(past: Past, current: bool) -> str:
    base, edited = past.comparison.base.answer.text, past.comparison.edited.answer.text
    said = escape(shorten(base, 40)) or "(no words)"
    if edited != base:
        said += f' → <b>{escape(shorten(edited, 40)) or "(no words)"}</b>'
    picture = thumbnail(past.thumbnail, "") if past.thumbnail else '<span class="thumb none" aria-hidden="true">Aa</span>'
    note = "" if current else '<span class="then">other edits</span>'
    return (
        f'<li><button type="button" data-action="reopen" data-item="{past.key}" title="Open this question as it was">{picture}'
        f'<span class="what"><span class="prompt">{escape(shorten(past.prompt, 80))}</span>'
        f"<span>{said}</span></span>{note}</button></li>"
    )
