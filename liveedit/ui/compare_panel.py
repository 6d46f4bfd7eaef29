"""Comparing editors: on the person's own edits, live, and as they were measured over lifelong editing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from liveedit.pictures import open_picture
from liveedit.types import InputError
from liveedit.ui.history import edits_digest
from liveedit.ui.markup import block
from liveedit.ui.measured import measured_html
from liveedit.ui.session import Session
from liveedit.ui.trial import MOST_EDITS, Tried, editor_names, ready_names, title_of, trial_html, try_here
from liveedit.ui.wiring import PROGRESS, QUICK, Updates, Wiring, told

HINT = (
    "Your edits given to every editor that can be used here, and the same questions asked of each. Your own edits are "
    "not touched. Editors that train at every edit take seconds for each; those that have to be trained beforehand and "
    "have not been are left unticked."
)
STALE = '<p class="hint outdated" role="status">Compared before your edits changed. Compare again to see the editors on them as they are now.</p>'
NEIGHBOURS = 3  # example pictures on which nothing should change


@dataclass(frozen=True)
class ComparePanel:
    """The components that its events connect; digests of the edits that were compared, and of those there are now."""

    editors: gr.CheckboxGroup
    button: gr.Button
    stale: gr.HTML
    results: gr.HTML
    ran: gr.State
    now: gr.State


def build_compare_panel(wiring: Wiring, checkpoints: Path, results: Path) -> ComparePanel:
    """The button with its table, and the measured curves, folded away."""
    block(f'<h2>Compare editors</h2><p class="hint">{HINT}</p>')
    editors = gr.CheckboxGroup(
        [(title_of(name), name) for name in editor_names()], value=ready_names(wiring.editor.backbone, checkpoints),
        label="Editors", elem_id="editors",
    )  # fmt: skip
    button = gr.Button("Compare on my edits", size="md", elem_id="compare")
    stale = block(elem_id="trial-stale")
    table = block(elem_id="trial")
    ran, now = gr.State(""), gr.State("")
    wiring.shows(now, lambda session: edits_digest(session.repository))
    with gr.Accordion("Measured over lifelong editing", open=False, elem_id="measured-box"):
        block(measured_html(results), elem_id="measured")
    return ComparePanel(editors, button, stale, table, ran, now)


def wire_compare_panel(wiring: Wiring, panel: ComparePanel, checkpoints: Path) -> None:
    """One editor after another; the table grows as they come."""

    @told
    def on_compare(state: Session, chosen: list[str], progress: gr.Progress = PROGRESS) -> Iterator[Updates]:
        experts = [e for e in state.repository if e.active]
        if not experts:
            raise InputError("there are no edits to compare editors on: make one first, or switch one on")
        names = [name for name in editor_names() if name in (chosen or ())]
        if not names:
            raise InputError("no editor is chosen: choose at least one")
        newest = experts[-MOST_EDITS:]
        pictures = {e.edit.image.tobytes() for e in newest}
        others = [
            (example.title, picture)
            for example in wiring.examples
            if (picture := open_picture(wiring.assets / example.file)).tobytes() not in pictures
        ][:NEIGHBOURS]
        edits = [(state.name(e.id), e.edit) for e in newest]
        progress((0, len(names)), desc=f"Trying {title_of(names[0])}")
        found: list[Tried] = []
        for result, order in try_here(wiring.editor, checkpoints, names, [edit for _, edit in edits], others):
            found.append(result)
            if len(found) < len(order):
                progress((len(found), len(order)), desc=f"Trying {title_of(order[len(found)])}")
            shown = trial_html(edits, found, len(experts) - len(newest), done=len(found) >= len(order))
            yield {panel.results: shown, panel.ran: edits_digest(state.repository)}

    panel.button.click(
        on_compare, [wiring.session, panel.editors], [panel.results, panel.ran], **wiring.queued(show_progress_on=panel.results)
    )
    gr.on(
        [panel.now.change, panel.ran.change],
        lambda ran, now: STALE if ran and ran != now else "", [panel.ran, panel.now], panel.stale, **QUICK,
    )  # fmt: skip
