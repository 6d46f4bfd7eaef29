"""Asking: the question, and the unedited and the edited answer side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gradio as gr

from liveedit.editors.comparison import AnswerToken, Comparison
from liveedit.types import Query
from liveedit.ui import session as actions
from liveedit.ui.markup import block, escape, percent, shorten
from liveedit.ui.pictures import uploaded_path
from liveedit.ui.session import Pending, Session
from liveedit.ui.wiring import QUICK, Updates, Upload, Wiring, clicked, told

HINT = "Choose a picture and ask about it; without a picture it is a question in words alone."
TOKENS_HINT = (
    "The model writes its answer in parts. Each part has a probability under the unedited model and under the edited "
    "one, both given the parts before it."
)


@dataclass(frozen=True)
class AskPanel:
    """The components others wire to."""

    question: gr.Textbox
    suggestions: gr.HTML
    button: gr.Button
    answers: gr.HTML


def build_ask_panel(wiring: Wiring) -> AskPanel:
    """The question box with its button, suggestions, and both answers."""
    block("<h2>Ask</h2>")
    with gr.Row(elem_id="ask-line"):
        question = gr.Textbox(
            label="Question", show_label=False, placeholder="What is this?", lines=1, max_lines=4, scale=4,
            min_width=120, elem_id="question", container=False, html_attributes=gr.InputHTMLAttributes(autocorrect="off"),
        )  # fmt: skip
        button = gr.Button("Ask", variant="primary", scale=1, min_width=84, elem_id="ask")
    suggestions = block("", clicks=True, elem_id="suggestions")
    answers = block(answers_html(wiring.session.value), elem_id="answers")
    wiring.shows(answers, answers_html)
    return AskPanel(question, suggestions, button, answers)


def wire_ask_panel(wiring: Wiring, panel: AskPanel, picture: gr.Image, edit_prompt: gr.Textbox) -> None:
    """Asking by button or Enter, and suggestions; what is asked is also proposed as the next edit's prompt."""

    @told
    def on_suggestion(event: gr.EventData) -> tuple[str, str]:
        return (clicked(event)[1],) * 2

    @told
    def on_ask(state: Session, upload: Upload, question: str) -> Iterator[Updates]:
        state = actions.with_picture(state, uploaded_path(upload))
        for step in actions.ask(wiring.editor, state, str(question or "")):
            if isinstance(step, Session):
                yield {**wiring.view(step), edit_prompt: question}
            else:
                yield {panel.answers: pending_html(step)}

    panel.suggestions.click(on_suggestion, None, [panel.question, edit_prompt], **QUICK)
    asked = gr.on(
        [panel.button.click, panel.question.submit], on_ask, [wiring.session, picture, panel.question],
        [*wiring.shown, edit_prompt], **wiring.queued(show_progress="hidden"),
    )  # fmt: skip
    asked.failure(answers_html, wiring.session, panel.answers, **QUICK)
    wiring.and_then(asked)


def suggestions_html(questions: Sequence[str]) -> str:
    """Questions that suit the example, as buttons that fill the question box."""
    chips = "".join(
        f'<button type="button" data-action="suggest" data-item="{escape(q)}">{escape(q)}</button>' for q in questions
    )
    return f'<div class="chips" role="group" aria-label="Suggested questions">{chips}</div>' if chips else ""


def answers_html(session: Session) -> str:
    """Both answers with their tokens; before the first question their places stay empty."""
    asked = session.asked
    if asked is None:
        return _cards(HINT, "–", "–", "", "", "waiting")
    routed = asked.passed if asked.edited.trace.routed else 0
    edits = "1 edit routed" if routed == 1 else f"{routed} edits routed" if routed else "no edit routed"
    changed = asked.base.text != asked.edited.text
    note = '<p class="hint outdated" role="status">Answered before your edits changed. Ask again to see what the model says now.</p>'
    return (
        (note if session.outdated else "")
        + _cards(
            _heading(asked.query), _words(asked.comparison.base_tokens), _words(asked.comparison.edited_tokens),
            "as it was trained", f"{edits}, {'answer changed' if changed else 'same answer'}",
            "changed" if changed else "same",
        )
        + _token_table(asked.comparison)
    )  # fmt: skip


def pending_html(pending: Pending) -> str:
    """Both answers as far as they have come."""
    base, edited = (escape(said.answer.text) + "…" if said else "…" for said in (pending.base, pending.edited))
    return _cards(_heading(pending.query), base, edited, "", "", "waiting")


def _heading(query: Query) -> str:
    where = "" if query.image is not None else " (without a picture)"
    return f"“{shorten(query.prompt, 140)}”{where}"


def _words(tokens: Sequence[AnswerToken]) -> str:
    """An answer's tokens, each a button that says its probabilities when pointed at or focused."""
    return "".join(_word(token) for token in tokens if token.piece.strip()) or "(no words)"


def _word(token: AnswerToken) -> str:
    text = token.piece.strip()
    space = " " if token.piece[:1].isspace() else ""
    tip = escape(f"{percent(token.before)} before → {percent(token.after)} with your edits")
    kind = "token changed" if token.changed else "token"
    return f'{space}<button type="button" class="{kind}" data-tip="{tip}" aria-label="{escape(text)}: {tip}">{escape(text)}</button>'


def _token_table(comparison: Comparison) -> str:
    """The same numbers as a table, for those who prefer to read them all."""
    return (
        f'<details class="more"><summary>Probability of each word part</summary><p class="hint">{TOKENS_HINT}</p>'
        f"{token_rows(comparison)}</details>"
    )


def token_rows(comparison: Comparison) -> str:
    """A table of both answers' tokens with their probabilities before and after."""
    rows = "".join(
        f'<tr><th scope="row">{escape(t.piece.strip())}{" (changed)" if t.changed else ""}</th><td>{who}</td>'
        f"<td>{escape(percent(t.before))}</td><td>{escape(percent(t.after))}</td></tr>"
        for who, tokens in (("unedited", comparison.base_tokens), ("with edits", comparison.edited_tokens))
        for t in tokens
        if t.piece.strip()
    )
    return (
        '<table class="tokens"><thead><tr><th scope="col">Part</th><th scope="col">Answer</th>'
        '<th scope="col" title="The unedited model&#x27;s probability of this part, after the parts before it">Before</th>'
        '<th scope="col" title="The same with your edits">After</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _cards(heading: str, base: str, edited: str, base_note: str, edited_note: str, state: str) -> str:
    """Both cards; ``base`` and ``edited`` are HTML already."""
    return (
        f'<p class="asked">{escape(heading)}</p><div class="answers {state}" aria-live="polite">'
        f'<section class="answer base"><h3>Unedited model</h3><p class="said">{base}</p>'
        f'<p class="note">{escape(base_note)}</p></section>'
        f'<section class="answer edited"><h3>With your edits</h3><p class="said">{edited}</p>'
        f'<p class="note">{escape(edited_note)}</p></section></div>'
    )
