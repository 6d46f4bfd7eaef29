"""Many edits from one file: what it holds is shown first, row by row where rows are refused, and then applied at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from liveedit.data.bulk import MAX_COUNTED, MAX_ROWS, Bulk, read_bulk
from liveedit.types import Edit, InputError
from liveedit.ui import session as actions
from liveedit.ui.markup import block, escape, sentence, shorten, thumbnail
from liveedit.ui.pictures import data_uri, uploaded_path
from liveedit.ui.session import Session
from liveedit.ui.wiring import PROGRESS, Updates, Upload, Wiring, told

SHOWN = 12
HINT = (
    "A CSV table or a JSON list with <b>image</b>, <b>prompt</b> and <b>target</b>, or a ZIP of one with its pictures. A row "
    f"without a picture is about the one shown above. At most {MAX_ROWS} rows; their order does not matter."
)


@dataclass(frozen=True)
class BulkPanel:
    """The components others wire to."""

    upload: gr.UploadButton
    preview: gr.HTML
    button: gr.Button
    read: gr.State


def build_bulk_panel() -> BulkPanel:
    """The form, folded away; its button appears once a file was read."""
    with gr.Accordion("Many edits from a file", open=False, elem_id="bulk"):
        block(f'<p class="hint">{HINT}</p>')
        upload = gr.UploadButton("Choose a file", file_types=[".csv", ".json", ".zip"], size="sm", elem_id="bulk-file")
        preview = block(elem_id="bulk-preview")
        button = gr.Button("Apply these edits", variant="primary", visible=False, elem_id="bulk-apply")
    return BulkPanel(upload, preview, button, gr.State(None))


def wire_bulk_panel(wiring: Wiring, panel: BulkPanel, picture: gr.Image) -> None:
    """Reading a file shows it; applying it adds its edits in one step that can be undone."""
    library = {Path(example.file).name: wiring.assets / example.file for example in wiring.examples}

    @told
    def on_file(state: Session, upload: Upload, shown: Upload) -> Updates:
        path = uploaded_path(upload)
        if path is None:
            raise InputError("no file arrived: choose it again")
        # The upload is left to the sweep: people who sent the same file share it.
        image = actions.with_picture(state, uploaded_path(shown)).picture
        bulk = read_bulk(path, image, library, wiring.editor.backbone.check_edit)
        wiring.visits.admit(state, state, bulk)
        count = len(bulk.edits)
        words = "Apply this edit" if count == 1 else f"Apply these {count} edits"
        return {panel.read: bulk, panel.preview: preview_html(bulk), panel.button: gr.update(value=words, visible=bool(count))}

    @told
    def on_apply(state: Session, bulk: Bulk | None, progress: gr.Progress = PROGRESS) -> Updates:
        if bulk is None or not bulk.edits:
            raise InputError("no edits have been read: choose a file first")

        def report(done: int, count: int) -> None:
            progress((done, count), desc="Making edits", unit="edits")

        edited = actions.apply_many(wiring.editor, state, [edit for _, edit in bulk.edits], report)
        wiring.visits.admit(state, edited)
        aside = _count_on(state) + len(bulk.edits) - _count_on(edited)
        words = f"{_were(len(bulk.edits))} made.{_gave_way(aside)} {_refused(bulk).replace(':', '.')}"
        said = f'<p class="check took" role="status">{escape(words)}</p>'
        return {**wiring.view(edited), panel.read: None, panel.preview: said, panel.button: gr.update(visible=False)}

    panel.upload.upload(
        on_file, [wiring.session, panel.upload, picture], [panel.read, panel.preview, panel.button],
        **wiring.queued(show_progress_on=panel.preview),
    )  # fmt: skip
    applied = panel.button.click(
        on_apply, [wiring.session, panel.read], [*wiring.shown, panel.read, panel.preview, panel.button],
        **wiring.queued(show_progress_on=panel.preview),
    )  # fmt: skip
    wiring.and_then(applied)


def preview_html(bulk: Bulk) -> str:
    """The first edits of a file, and every row that was refused with the reason."""
    rows = "".join(_row(number, edit) for number, edit in bulk.edits[:SHOWN])
    more = len(bulk.edits) - SHOWN
    rest = f'<p class="hint">… and {more} more.</p>' if more > 0 else ""
    table = (
        '<table class="tokens probed"><thead><tr><th scope="col">Row</th><th scope="col">When asked</th>'
        f'<th scope="col">It shall answer</th></tr></thead><tbody>{rows}</tbody></table>{rest}'
        if rows
        else ""
    )
    refused = "".join(
        f"<li><b>Row {r.number}</b> {escape(shorten(r.text, 60))}<br>{escape(sentence(r.reason))}</li>" for r in bulk.refused
    )
    if bulk.beyond:
        last = "the last" if bulk.beyond == MAX_COUNTED else MAX_ROWS + bulk.beyond
        which = f"Row {last}" if bulk.beyond == 1 else f"Rows {MAX_ROWS + 1} to {last}"
        refused += f"<li><b>{which}</b><br>Only the first {MAX_ROWS} rows are taken.</li>"
    listed = f'<div class="check failed" role="status">{escape(_refused(bulk))}<ul class="refused">{refused}</ul></div>' if refused else ""
    return listed + table


def _were(count: int) -> str:
    return "1 edit was" if count == 1 else f"{count} edits were"


def _count_on(session: Session) -> int:
    return sum(expert.active for expert in session.repository)


def _gave_way(count: int) -> str:
    """What is said of edits that were switched off since others take their place."""
    if not count:
        return ""
    return f" {_were(count)} switched off, since a later one asks the same of the same picture."


def _refused(bulk: Bulk) -> str:
    count = len(bulk.refused) + bulk.beyond
    if not count:
        return "No row was refused."
    many = f"More than {count:,}" if bulk.beyond == MAX_COUNTED else f"{count:,}"
    return "1 row was refused:" if count == 1 else f"{many} rows were refused:"


def _row(number: int, edit: Edit) -> str:
    return (
        f'<tr><td>{number}</td><th scope="row"><div class="edit-cell">{thumbnail(data_uri(edit.image, 48), "")}'
        f"<span>{escape(shorten(edit.prompt, 80))}</span></div></th><td>{escape(shorten(edit.target, 60))}</td></tr>"
    )
