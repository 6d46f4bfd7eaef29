"""The picture, the examples and the person's list of edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from liveedit.ui.markup import block, escape, shorten, thumbnail
from liveedit.ui.pictures import file_uri
from liveedit.ui.session import Session
from liveedit.world.examples import Example

NO_EDITS = '<p class="empty">None yet. Your edits stay in this browser tab and are gone when you reload it.</p>'


@dataclass(frozen=True)
class PicturePanel:
    """The components others wire to."""

    picture: gr.Image
    examples: gr.HTML


def build_picture_panel(examples: Sequence[Example], assets: Path) -> PicturePanel:
    """The picture box and the example thumbnails."""
    block('<h2>Picture</h2><p class="hint">Upload one, paste one, or choose an example.</p>')
    picture = gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label="Picture",
        show_label=False,
        height=250,
        buttons=[],
        elem_id="picture",
        alt_text="The picture you ask about",
        placeholder="Drop a picture here\n- or -\nclick to choose one",
    )
    return PicturePanel(picture, block(examples_html(examples, assets), "examples", clicks=True))


def build_edits_list() -> gr.HTML:
    """The list of the person's edits, each with its switch and its remove button."""
    block("<h2>Your edits</h2>")
    return block(NO_EDITS, clicks=True, elem_id="edits")


def examples_html(examples: Sequence[Example], assets: Path) -> str:
    """One button per example, with its picture."""
    buttons = "".join(
        f'<button type="button" data-action="example" data-item="{number}" title="{escape(e.title)}">'
        f"{thumbnail(file_uri(assets / e.file, 128), e.alt)}</button>"
        for number, e in enumerate(examples)
    )
    return f'<div class="examples" role="group" aria-label="Example pictures">{buttons}</div>'


def edits_html(session: Session) -> str:
    """The edits, newest first."""
    rows = [_row(session, expert.id) for expert in reversed(session.repository.experts)]
    return f'<ul class="edits">{"".join(rows)}</ul>' if rows else NO_EDITS


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
