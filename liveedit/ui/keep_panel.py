"""Keep and share: files handed to the browser, and files that bring edits or a session back.

A file lies on the server under a name that nobody guesses, where uploads lie, and goes as they do, with its page. Inside
the page it would take its memory three times, and stay there.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import gradio as gr
from gradio.route_utils import API_PREFIX
from gradio.utils import get_upload_folder

from liveedit.experts import STORED_SIDE
from liveedit.types import InputError, RepositoryError
from liveedit.ui.keeping import edits_file, restore, session_file, trace_file
from liveedit.ui.markup import block, escape
from liveedit.ui.pictures import uploaded_path
from liveedit.ui.report import report_file
from liveedit.ui.session import Session
from liveedit.ui.wiring import PROGRESS, Updates, Upload, Wiring, clicked, told
from liveedit.ui.wording import describe_model

FILES = {
    "edits": ("Edits", "edits.safetensors", "All edits with their pictures, for here or the command line"),
    "session": (
        "Session", "liveedit-session.zip",
        f"Edits, questions and picture: opens here again as it is now, the edits' pictures at {STORED_SIDE} pixels a side at most",
    ),
    "report": ("Report", "liveedit-report.html", "The question shown, as one page to read anywhere"),
    "trace": ("Trace", "liveedit-trace.json", "Every number of the answer shown, for programs"),
}
HINT = (
    "Files to take with you; the server keeps them while this page is open, and for an hour at the most. Opening a file of "
    "edits adds them, a session takes the place of this one. Edits come back with their pictures at "
    f"{STORED_SIDE} pixels a side at most, smaller where there are more than a hundred."
)
# The browser saves the file, as if the link had been clicked.
SAVE = """(html) => {
    const link = new DOMParser().parseFromString(html || '', 'text/html').querySelector('a[download]');
    if (!link) return;
    const save = Object.assign(document.createElement('a'), {href: link.getAttribute('href'), download: link.download});
    document.body.append(save);
    save.click();
    save.remove();
}"""


@dataclass(frozen=True)
class KeepPanel:
    """The components others wire to."""

    buttons: gr.HTML
    delivery: gr.HTML
    upload: gr.UploadButton


def build_keep_panel(wiring: Wiring) -> KeepPanel:
    """The buttons for each file, and the one that opens a file."""
    with gr.Accordion("Keep and share", open=False, elem_id="keep"):
        block(f'<p class="hint">{HINT}</p>')
        buttons = block(_buttons(), clicks=True, elem_id="keep-files")
        delivery = block(elem_id="delivery")
        upload = gr.UploadButton("Open a file", file_types=[".safetensors", ".zip"], size="sm", elem_id="open-file")
    wiring.shows(delivery, lambda _session: "")
    return KeepPanel(buttons, delivery, upload)


def wire_keep_panel(
    wiring: Wiring, panel: KeepPanel, picture: gr.Image, question: gr.Textbox, edit_prompt: gr.Textbox
) -> None:
    """Files out by a click, and in by an upload."""
    model = describe_model(wiring.editor.backbone)[0]
    makers: dict[str, Callable[[Session, Path], object]] = {
        "edits": edits_file, "session": session_file,
        "trace": lambda state, path: path.write_bytes(trace_file(state)),
        "report": lambda state, path: path.write_bytes(report_file(state, model)),
    }  # fmt: skip

    @told
    def on_keep(state: Session, event: gr.EventData, request: gr.Request) -> str:
        kind = clicked(event)[1]
        if kind not in makers:
            raise InputError("this button is unknown: reload the page")
        if kind == "edits" and not len(state.repository):
            raise InputError("there are no edits to keep yet: make one first")
        path = written(FILES[kind][1], lambda path: makers[kind](state, path))
        visits = wiring.visits
        visits.note(visits.session_data.get(str(request.session_hash)), [str(path)])
        return link_html(path)

    @told
    def on_open(state: Session, upload: Upload, progress: gr.Progress = PROGRESS) -> Updates:
        progress(0.1, desc="Reading the file")
        path = uploaded_path(upload)
        if path is None:
            raise InputError("no file arrived: choose it again")
        restored = restore(wiring.editor, state, path, wiring.visits.room.file)
        wiring.visits.admit(state, restored)
        prompt = restored.asked.query.prompt if restored.asked else gr.skip()
        return {**wiring.view(restored), picture: gr.update(value=restored.picture), question: prompt, edit_prompt: prompt}

    panel.buttons.click(on_keep, wiring.session, panel.delivery, **wiring.queued(show_progress_on=panel.delivery)).success(
        None, panel.delivery, None, js=SAVE
    )
    opened = panel.upload.upload(
        on_open, [wiring.session, panel.upload], [*wiring.shown, picture, question, edit_prompt],
        **wiring.queued(show_progress_on=panel.delivery),
    )  # fmt: skip
    wiring.and_then(opened)


def written(name: str, make: Callable[[Path], object]) -> Path:
    """Where a new file of this name lies, which ``make`` writes; only who is told the place can fetch it."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
        make(folder / name)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, (OSError, RepositoryError)):
            raise InputError("the file could not be written on the server: try again later") from error
        raise
    return folder / name


def link_html(path: Path) -> str:
    """A link to the file; the page clicks it by itself, and a person may click it again."""
    length = path.stat().st_size
    size = f"{length / 1e6:.1f} MB" if length >= 1e6 else f"{max(length // 1000, 1)} kB"
    # Relative to the page, which may be served below another address.
    address = f".{API_PREFIX}/file={quote(path.as_posix())}"
    return (
        f'<p class="hint" role="status">Ready: <a href="{address}" download="{path.name}">{path.name}</a>, {size}. '
        "If your browser has not saved it, click the name.</p>"
    )


def _buttons() -> str:
    made = "".join(
        f'<button type="button" data-action="keep" data-item="{kind}" title="{escape(meaning)}">{label}</button>'
        for kind, (label, _, meaning) in FILES.items()
    )
    return f'<div class="chips" role="group" aria-label="Files to keep">{made}</div>'
