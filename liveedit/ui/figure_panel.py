"""The instance analysis as one figure (paper, Figure 6), to look at and to keep as PNG, SVG or PDF.

It is drawn without the model from the heatmaps that are there; where one is not, the figure says why. The files travel
inside the page as data, so none of them ever lies on the server's disk.
"""

from __future__ import annotations

import base64
from typing import Any

import gradio as gr

from liveedit.attribution import Attribution
from liveedit.evaluation.instance_figure import FORMATS, InstanceAnalysis, Map, figure_bytes, instance_figure
from liveedit.types import ExpertTrace, InputError
from liveedit.ui.heatmap_keys import QUESTION, Maps, key_of, nearest, question_key, wanted, work_key
from liveedit.ui.heatmap_panel import HeatmapPanel, misfit, note_in
from liveedit.ui.ledger import COLUMNS
from liveedit.ui.markup import block, escape, number, shorten
from liveedit.ui.session import Session
from liveedit.ui.wiring import QUICK, Options, Wiring, told

MIME = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}
# Drawing needs no model, but a second of processor time: one figure at a time, beside the queue of the model.
DRAWING: Options = {
    "concurrency_limit": 1, "concurrency_id": "figure", "api_visibility": "private", "preprocess": False,
}  # fmt: skip
UNROUTED = "no map: asked without edits"
# A figure, and the question that it is of.
Drawn = tuple[str, str] | None


def build_figure_panel(wiring: Wiring, heat: HeatmapPanel) -> None:
    """The button and, once it is clicked, the figure; another answer takes the figure away."""
    button = gr.Button("Draw the instance analysis as a figure", size="sm", elem_id="draw-figure")
    figure = block(elem_id="instance-figure")
    drawn = gr.State(None)
    wiring.shows(figure, lambda _session: "")

    def on_draw(state: Session, maps: Maps, target: str, method: str, stopped: str) -> Drawn:
        ended = stopped == work_key(state, target, method)
        return question_key(state), figure_html(state, maps, target, method, ended)

    button.click(
        told(on_draw), [wiring.session, heat.maps, heat.target, heat.method, heat.stopped], drawn,
        show_progress_on=figure, **DRAWING,
    ).success(told(placed), [wiring.session, drawn], [figure, drawn], **QUICK)  # fmt: skip


def placed(session: Session, drawn: Drawn) -> tuple[Any, None]:
    """A figure that was drawn for the page, which alone keeps it; nothing where it is no longer of the last question."""
    return (drawn[1] if drawn is not None and drawn[0] == question_key(session) else gr.skip()), None


def figure_html(session: Session, maps: Maps, target: str, method: str, ended: bool = False) -> str:
    """The figure with a link for each format; what it shows stands in a table below it.

    ``ended`` when the maps that lack are not looked for.
    """
    analysis = analysis_of(session, maps, target, method, ended)
    files = {kind: figure_bytes(instance_figure(analysis), kind) for kind in FORMATS}
    uris = {kind: f"data:{MIME[kind]};base64,{base64.b64encode(data).decode('ascii')}" for kind, data in files.items()}
    links = "".join(
        f'<a download="instance-analysis.{kind}" href="{uris[kind]}">Save as {kind.upper()}</a>' for kind in FORMATS
    )
    experts = "; ".join(
        f"{analysis.names[row.expert_id]}: margin {row.margin:+.2f}, {'passed' if row.passed else 'stopped'}, "
        f"weight {row.weight:.2f}"
        for row in analysis.experts
    )
    alt = f"Instance analysis of your question and the nearest edits. {experts or 'No edit is on'}."
    return f'<img src="{uris["png"]}" alt="{escape(alt)}"><p class="links">{links}</p>{_table(analysis)}'


def analysis_of(session: Session, maps: Maps, target: str, method: str, ended: bool) -> InstanceAnalysis:
    """What the figure shows of the last question: the maps that are there, and why the others are not."""
    asked = session.asked
    if asked is None or asked.query.image is None:
        raise InputError("there is nothing to draw yet: ask about a picture first")
    unfit = misfit(target, method)
    if unfit:
        raise InputError(unfit)
    rows, keys = nearest(session), wanted(session, target, method)

    def shown(subject: str) -> Map | str:
        key = key_of(session, target, method, subject)
        found, note = maps.get(key), note_in(maps, key, ended)
        return Map(found.heatmap, note, found.region) if isinstance(found, Attribution) else note

    own = shown(QUESTION) if work_key(session, target, method) in keys else None
    return InstanceAnalysis(
        asked.query,
        asked.base.text,
        asked.edited.text,
        session.repository,
        rows,
        own if asked.trace.routed else UNROUTED,
        {row.expert_id: shown(row.expert_id) for row in rows},
        {row.expert_id: session.name(row.expert_id) for row in rows},
        over_question=target == "margin",
    )


def _table(analysis: InstanceAnalysis) -> str:
    """What the figure shows of the question and each edit, in words and numbers."""
    columns = ("visual_similarity", "threshold", "margin", "passed", "weight")
    heads = "".join(f'<th scope="col">{COLUMNS[key][0]}</th>' for key in columns)
    said = f"{shorten(analysis.query.prompt)} unedited: {shorten(analysis.base)}, edited: {shorten(analysis.edited)}"
    rows = [_row("Your question", said, analysis.own, None)]
    for row in analysis.experts:
        edit = analysis.repository.get(row.expert_id).edit
        words = f"{shorten(edit.prompt)} → {shorten(edit.target)}"
        rows.append(_row(analysis.names[row.expert_id], words, analysis.maps[row.expert_id], row))
    return (
        '<details class="twin"><summary>The figure as a table</summary><div class="scroll" tabindex="0" role="region" '
        'aria-label="The figure as a table"><table class="plain"><thead><tr><th scope="col">Picture</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _row(name: str, words: str, found: Map | str | None, trace: ExpertTrace | None) -> str:
    """One picture of the figure: whose it is, how its heatmap was made, and what routing decided."""
    note = found.note.replace("\n", ", ") if isinstance(found, Map) else found
    said = "".join(f"<small>{escape(text)}</small>" for text in (words, note) if text)
    cells = ["–"] * 5
    if trace is not None:
        similarities = (trace.visual_similarity, trace.threshold, trace.margin)
        cells = [*(number(value, 3) for value in similarities), "yes" if trace.passed else "no", number(trace.weight)]
    return (
        f'<tr><th scope="row">{escape(name)}{said}</th>'
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    )
