"""Editing: a prompt, the new answer, one button, and the check whether the edit took."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from liveedit.ui.markup import block, escape
from liveedit.ui.session import Session
from liveedit.ui.wording import verdict

HINT = "For the picture shown, the model shall answer differently from now on. Nothing is trained again."

CHECK_HINT = '<p class="hint">After an edit the model is asked again, and here it says whether the edit took.</p>'


@dataclass(frozen=True)
class EditPanel:
    """The components others wire to."""

    prompt: gr.Textbox
    target: gr.Textbox
    button: gr.Button
    check: gr.HTML


def build_edit_panel() -> EditPanel:
    """The two boxes, the button and the check."""
    block(f'<h2>Edit</h2><p class="hint">{HINT}</p>')
    prompt = gr.Textbox(label="When asked", placeholder="What is this?", max_lines=4, elem_id="edit-prompt")
    target = gr.Textbox(label="It shall answer", placeholder="banana", max_lines=4, elem_id="edit-target")
    button = gr.Button("Apply edit", variant="primary", elem_id="apply")
    return EditPanel(prompt, target, button, block(CHECK_HINT, elem_id="check"))


def check_html(session: Session) -> str:
    """The sentence after an edit; a hint when the last action was something else."""
    took, said = verdict(session)
    if not said:
        return CHECK_HINT
    state = "took" if took else "failed"
    return f'<p class="check {state}" role="status">{escape(said)}</p>'
