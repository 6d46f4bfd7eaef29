"""Editing: a prompt, the new answer, one button, and the check whether the edit took."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from liveedit.ui import session as actions
from liveedit.ui.bulk_panel import BulkPanel, build_bulk_panel, wire_bulk_panel
from liveedit.ui.gates import verdict
from liveedit.ui.markup import block, escape
from liveedit.ui.pictures import uploaded_path
from liveedit.ui.probe_panel import ProbePanel, build_probe_panel, wire_probe_panel
from liveedit.ui.session import Session
from liveedit.ui.wiring import PROGRESS, Updates, Upload, Wiring, told

HINT = "For the picture shown, the model shall answer differently from now on. Nothing is trained again."

CHECK_HINT = '<p class="hint">After an edit the model is asked again, and here it says whether the edit took.</p>'


@dataclass(frozen=True)
class EditPanel:
    """The components others wire to."""

    prompt: gr.Textbox
    target: gr.Textbox
    button: gr.Button
    check: gr.HTML
    probe: ProbePanel
    bulk: BulkPanel


def build_edit_panel(wiring: Wiring) -> EditPanel:
    """The two boxes, the button and the check."""
    block(f'<h2>Edit</h2><p class="hint">{HINT}</p>')
    prompt = gr.Textbox(label="When asked", placeholder="What is this?", max_lines=4, elem_id="edit-prompt")
    target = gr.Textbox(label="It shall answer", placeholder="banana", max_lines=4, elem_id="edit-target")
    button = gr.Button("Apply edit", variant="primary", elem_id="apply")
    check = block(CHECK_HINT, elem_id="check")
    wiring.shows(check, check_html)
    return EditPanel(prompt, target, button, check, build_probe_panel(wiring), build_bulk_panel())


def wire_edit_panel(wiring: Wiring, panel: EditPanel, picture: gr.Image, question: gr.Textbox, answers: gr.HTML) -> None:
    """Applying an edit by button or Enter; its prompt is asked at once."""

    @told
    def on_apply(
        state: Session, upload: Upload, prompt: str, target: str, progress: gr.Progress = PROGRESS
    ) -> Updates:
        progress(0.1, desc="Making the edit and asking again")
        shown = actions.with_picture(state, uploaded_path(upload))
        edited = actions.apply_edit(wiring.editor, shown, str(prompt or ""), str(target or ""))
        wiring.visits.admit(state, edited)
        return {**wiring.view(edited), question: prompt}

    applied = gr.on(
        [panel.button.click, panel.target.submit], on_apply, [wiring.session, picture, panel.prompt, panel.target],
        [*wiring.shown, question], **wiring.queued(show_progress_on=[panel.check, answers]),
    )  # fmt: skip
    wiring.and_then(applied)
    wire_probe_panel(wiring, panel.probe)
    wire_bulk_panel(wiring, panel.bulk, picture)


def check_html(session: Session) -> str:
    """The sentence after an edit; a hint when the last action was something else."""
    took, said = verdict(session)
    if not said:
        return CHECK_HINT
    state = "took" if took else "failed"
    return f'<p class="check {state}" role="status">{escape(said)}</p>'
