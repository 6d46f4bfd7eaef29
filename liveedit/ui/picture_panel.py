"""The picture and the examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from liveedit.pictures import open_picture
from liveedit.ui import session as actions
from liveedit.ui.ask_panel import AskPanel, suggestions_html
from liveedit.ui.markup import block, escape, thumbnail
from liveedit.ui.pictures import file_uri, uploaded_path
from liveedit.ui.session import Session
from liveedit.ui.wiring import QUICK, Updates, Upload, Wiring, chosen, told
from liveedit.world.examples import Example

ALT = "The picture you ask about"


@dataclass(frozen=True)
class PicturePanel:
    """The components others wire to."""

    picture: gr.Image
    examples: gr.HTML


def build_picture_panel(wiring: Wiring) -> PicturePanel:
    """The picture box and the example thumbnails."""
    block('<h2>Picture</h2><p class="hint">Upload one, paste one, or choose an example.</p>')
    picture = gr.Image(
        type="filepath",
        image_mode=None,
        # Without loss, so that a picture which the page itself puts here is known again to the pixel.
        format="png",
        sources=["upload", "clipboard"],
        label="Picture",
        show_label=False,
        height=250,
        buttons=[],
        elem_id="picture",
        alt_text=ALT,
        # The words that screen readers are given for this box, whatever stands here.
        placeholder="Drop an image file here to upload",
    )
    return PicturePanel(picture, block(examples_html(wiring.examples, wiring.assets), "examples", clicks=True))


def wire_picture_panel(wiring: Wiring, panel: PicturePanel, ask: AskPanel, edit_prompt: gr.Textbox) -> None:
    """Examples fill the picture and both questions; a new picture is checked at once."""

    alts = {open_picture(wiring.assets / example.file).tobytes(): example.alt for example in wiring.examples}

    @told
    def on_picture(state: Session, upload: Upload) -> Updates:
        """Check an upload at once, describe it, and clear what was said about the picture before."""
        changed = actions.with_picture(state, uploaded_path(upload))
        alt = alts.get(changed.picture.tobytes(), ALT) if changed.picture is not None else ALT
        described = {panel.picture: gr.update(alt_text=alt)}
        # A picture that the page itself put there keeps its answers and all that followed them.
        kept = changed.asked is state.asked
        return {**({wiring.session: changed} if kept else wiring.view(changed)), **described}

    @told
    def on_example(event: gr.EventData) -> Updates:
        example = wiring.examples[chosen(event, len(wiring.examples))]
        return {
            panel.picture: open_picture(wiring.assets / example.file),
            ask.suggestions: suggestions_html(example.questions),
            ask.question: example.questions[0],
            edit_prompt: example.questions[0],
        }

    panel.examples.click(on_example, None, [panel.picture, ask.suggestions, ask.question, edit_prompt], **QUICK)
    panel.picture.change(
        on_picture, [wiring.session, panel.picture], [*wiring.shown, panel.picture], **wiring.queued(show_progress="hidden")
    ).failure(lambda: None, None, panel.picture, **QUICK)


def examples_html(examples: Sequence[Example], assets: Path) -> str:
    """One button per example, with its picture."""
    buttons = "".join(
        f'<button type="button" data-action="example" data-item="{number}" title="{escape(e.title)}">'
        f"{thumbnail(file_uri(assets / e.file, 128), e.alt)}</button>"
        for number, e in enumerate(examples)
    )
    return f'<div class="examples" role="group" aria-label="Example pictures">{buttons}</div>'
