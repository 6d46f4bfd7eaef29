"""The row under a new edit: does it hold reworded and on altered pictures, and did it leave its neighbours alone?"""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr
from gradio.events import Dependency
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.evaluation.probing import Outcome, counts, probe
from liveedit.experts import ExpertRepository
from liveedit.pictures import open_picture
from liveedit.ui.markup import block, escape, shorten, thumbnail
from liveedit.ui.pictures import data_uri
from liveedit.ui.session import Session
from liveedit.ui.spaces import on_gpu
from liveedit.ui.wiring import Wiring, told

NEIGHBOURS = ("Fox", "Guitar", "Penguin", "Pizza", "Sunflower")  # examples that show one thing each
OTHERS = 4
WORDS = {
    "picture": ("On the picture", "Reliability: the edited question on the edited picture gets the new answer"),
    "rewording": ("Reworded", "Generality in words: the same question in other words gets the new answer"),
    "altered": ("Altered picture", "Generality in pictures: cropped, relit, blurred or mirrored, it gets the new answer"),
    "same picture": (
        "Other question",
        "Locality: other questions on the same picture are answered as without this edit",
    ),
    "same question": (
        "Other pictures",
        "Locality: the same question on other pictures is answered as without this edit",
    ),
}


def build_probe_panel(wiring: Wiring) -> gr.HTML:
    """The row, empty until an edit is made."""
    row = block(elem_id="probe")
    wiring.shows(row, waiting_html)
    return row


def wire_probe_panel(wiring: Wiring, row: gr.HTML, applied: Dependency) -> None:
    """After each edit it is tried out, in a step of its own."""

    def on_applied(state: Session) -> str:
        if state.latest is None:
            return ""
        edited = state.repository.get(state.latest).edit
        others = [
            (example.title, picture)
            for example in wiring.examples
            if example.title in NEIGHBOURS
            and (picture := open_picture(wiring.assets / example.file)).tobytes() != edited.image.tobytes()
        ]
        return probe_html(state.name(state.latest), probed(wiring.editor, state.repository, state.latest, others[:OTHERS]))

    applied.success(told(on_applied), wiring.session, row, **wiring.queued(show_progress_on=row))


@on_gpu("edit")
def probed(
    editor: LiveEdit, repository: ExpertRepository, expert_id: str, others: Sequence[tuple[str, Image]]
) -> list[Outcome]:
    """What :func:`probe` finds, where the GPU is lent."""
    return probe(editor, repository, expert_id, others)


def waiting_html(session: Session) -> str:
    """What stands in the row's place while an edit is tried out."""
    return '<p class="hint">Trying the edit out: reworded, on altered pictures, and on its neighbours…</p>' if session.latest else ""


def probe_html(name: str, outcomes: Sequence[Outcome]) -> str:
    """A chip for each group with its count, and everything that was asked, folded away."""
    chips = "".join(_chip(group, *found) for group, found in counts(outcomes).items())
    rows = "".join(_row(outcome) for outcome in outcomes)
    return (
        f'<ul class="probe" aria-label="How {escape(name)} holds">{chips}</ul><details class="more">'
        f"<summary>What was asked to see this</summary>"
        '<table class="tokens probed"><thead><tr><th scope="col">Question</th><th scope="col">Wanted</th>'
        f'<th scope="col">Said</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _chip(group: str, held: int, count: int) -> str:
    label, meaning = WORDS[group]
    state, sign = ("all", "✓") if held == count else ("none", "✕") if held == 0 else ("some", "◐")
    verb = "held" if group in ("picture", "rewording", "altered") else "unchanged"
    return (
        f'<li class="{state}" title="{meaning}"><b><span aria-hidden="true">{sign}</span> {held} of {count}</b> {verb}'
        f"<span>{label}</span></li>"
    )


def _row(outcome: Outcome) -> str:
    """One question with its picture; the mark says whether it went as wanted."""
    mark = '<span class="yes">✓ as wanted</span>' if outcome.holds else '<span class="no">✕ not as wanted</span>'
    picture = thumbnail(data_uri(outcome.query.image, 48), "") if outcome.query.image else ""
    return (
        f'<tr><th scope="row"><div class="edit-cell">{picture}<span><b>{escape(outcome.label)}</b>'
        f"<span>{escape(shorten(outcome.query.prompt, 80))}</span></span></div></th>"
        f"<td>{escape(shorten(outcome.wanted, 60))}</td><td>{escape(shorten(outcome.said, 60))}<br>{mark}</td></tr>"
    )
