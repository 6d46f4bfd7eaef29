"""The instance analysis as one figure (paper, Figure 6), to look at and to keep as PNG, SVG or PDF.

It is drawn from the heatmaps that are there, without the model. The files travel inside the page as data, so none
of them ever lies on the server's disk.
"""

from __future__ import annotations

import base64

import gradio as gr

from liveedit.attribution import Attribution, note_of
from liveedit.evaluation.instance_figure import FORMATS, InstanceAnalysis, Map, figure_bytes, instance_figure
from liveedit.types import InputError
from liveedit.ui.heatmap_panel import QUESTION, HeatmapPanel, Maps, key_of, nearest
from liveedit.ui.markup import block, escape
from liveedit.ui.session import Session
from liveedit.ui.wiring import Options, Wiring, told

MIME = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}
# Drawing needs no model, but a second of processor time: one figure at a time, beside the queue of the model.
DRAWING: Options = {
    "concurrency_limit": 1, "concurrency_id": "figure", "api_visibility": "private", "preprocess": False,
}  # fmt: skip


def build_figure_panel(wiring: Wiring, heat: HeatmapPanel) -> None:
    """The button and, once it is clicked, the figure; another answer takes the figure away."""
    button = gr.Button("Draw the instance analysis as a figure", size="sm", elem_id="draw-figure")
    figure = block(elem_id="instance-figure")
    wiring.shows(figure, lambda _session: "")
    button.click(
        told(figure_html), [wiring.session, heat.maps, heat.target, heat.method], figure, show_progress_on=figure,
        **DRAWING,
    )  # fmt: skip


def figure_html(session: Session, maps: Maps, target: str, method: str) -> str:
    """The figure with a link for each format; what it shows stands in its alternative text."""
    analysis = analysis_of(session, maps, target, method)
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
    return f'<img src="{uris["png"]}" alt="{escape(alt)}"><p class="links">{links}</p>'


def analysis_of(session: Session, maps: Maps, target: str, method: str) -> InstanceAnalysis:
    """What the figure shows of the last question, with the maps that are there."""
    asked = session.asked
    if asked is None or asked.query.image is None:
        raise InputError("there is nothing to draw yet: ask about a picture first")
    rows = nearest(session)
    found = {row.expert_id: maps.get(key_of(session, target, method, row.expert_id)) for row in rows}
    own = maps.get(key_of(session, target, method, QUESTION))
    return InstanceAnalysis(
        asked.query,
        asked.base.text,
        asked.edited.text,
        session.repository,
        rows,
        _shown(own) if own else None,
        {expert_id: _shown(one) for expert_id, one in found.items() if one},
        {row.expert_id: session.name(row.expert_id) for row in rows},
        over_question=target == "margin",
    )


def _shown(found: Attribution) -> Map:
    return Map(found.heatmap, note_of(found), found.region)
