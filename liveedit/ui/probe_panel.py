"""The row under new edits: do they hold reworded and on altered pictures, and did they leave their neighbours alone?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.evaluation.probing import Outcome, counts, probe
from liveedit.experts import ExpertRepository
from liveedit.pictures import open_picture
from liveedit.ui.markup import block, escape, shorten, thumbnail
from liveedit.ui.pictures import data_uri
from liveedit.ui.session import Session
from liveedit.ui.spaces import on_gpu
from liveedit.ui.wiring import PROGRESS, Wiring, told

MOST = 5  # of many edits made at once, so many are tried out
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


@dataclass(frozen=True)
class ProbePanel:
    """The row, and the edits that it is about."""

    row: gr.HTML
    newest: gr.State


def build_probe_panel(wiring: Wiring) -> ProbePanel:
    """The row, empty until an edit is made."""
    row, newest = block(elem_id="probe"), gr.State(())
    wiring.shows(row, waiting_html)
    wiring.shows(newest, lambda session: session.newest)
    return ProbePanel(row, newest)


def wire_probe_panel(wiring: Wiring, panel: ProbePanel) -> None:
    """Whatever makes edits, they are tried out afterwards, in a step of its own."""
    neighbours = [
        (example.title, open_picture(wiring.assets / example.file))
        for example in wiring.examples
        if example.title in NEIGHBOURS
    ]

    @told
    def on_newest(state: Session, newest: Sequence[str], progress: gr.Progress = PROGRESS) -> str:
        # Something else may have happened since they were made.
        there = [expert_id for expert_id in newest if expert_id in state.names]
        chosen = there[:: -(-len(there) // MOST)] if there else []
        found = []
        for done, expert_id in enumerate(chosen):
            progress((done, len(chosen)), desc="Trying out", unit="edits")
            shown = state.repository.get(expert_id).edit.image.tobytes()
            others = [(title, picture) for title, picture in neighbours if picture.tobytes() != shown]
            found.append((state.name(expert_id), probed(wiring.editor, state.repository, expert_id, others[:OTHERS])))
        return probe_html(found, len(there))

    panel.newest.change(
        on_newest, [wiring.session, panel.newest], panel.row, **wiring.queued(show_progress_on=panel.row)
    )


@on_gpu("edit")
def probed(
    editor: LiveEdit, repository: ExpertRepository, expert_id: str, others: Sequence[tuple[str, Image]]
) -> list[Outcome]:
    """What :func:`probe` finds, where the GPU is lent."""
    return probe(editor, repository, expert_id, others)


def waiting_html(session: Session) -> str:
    """What stands in the row's place while an edit is tried out."""
    return '<p class="hint">Trying the edit out: reworded, on altered pictures, and on its neighbours…</p>' if session.latest else ""


def probe_html(tried: Sequence[tuple[str, Sequence[Outcome]]], made: int) -> str:
    """A chip for each group with its count, over all edits that were ``tried`` (by name) of those ``made``; everything
    that was asked and what the groups mean are folded away."""
    if not tried:
        return ""
    chips = "".join(_chip(group, *found) for group, found in counts([o for _, found in tried for o in found]).items())
    rows = "".join(_row(name if made > 1 else "", outcome) for name, outcomes in tried for outcome in outcomes)
    name = tried[0][0] if made == 1 else f"the {made} new edits" if len(tried) == made else f"{len(tried)} of {made} new edits"
    meanings = "".join(f"<li><b>{label}</b>: {meaning}.</li>" for label, meaning in WORDS.values())
    return (
        f'<p class="hint">How {escape(name)} {"holds" if made == 1 else "hold"}:</p>'
        f'<ul class="probe" aria-label="How {escape(name)} {"holds" if made == 1 else "hold"}">{chips}</ul><details class="more">'
        f'<summary>What was asked to see this</summary><ul class="hint">{meanings}</ul>'
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


def _row(name: str, outcome: Outcome) -> str:
    """One question with its picture; the mark says whether it went as wanted."""
    mark = '<span class="yes">✓ as wanted</span>' if outcome.holds else '<span class="no">✕ not as wanted</span>'
    picture = thumbnail(data_uri(outcome.query.image, 48), "") if outcome.query.image else ""
    return (
        f'<tr><th scope="row"><div class="edit-cell">{picture}<span><b>{escape(f"{name}, " if name else "")}{escape(outcome.label)}</b>'
        f"<span>{escape(shorten(outcome.query.prompt, 80))}</span></span></div></th>"
        f"<td>{escape(shorten(outcome.wanted, 60))}</td><td>{escape(shorten(outcome.said, 60))}<br>{mark}</td></tr>"
    )
