"""The panel of all edits: the ledger with its filter, the what-if, and the map of the routing features.

What a person chooses to look at is kept beside the session. Steps that need the model write neither the session nor
what is shown: they leave what they found in a state of its own, and drawing, which needs no model, follows with the
filter and the settings as they are by then. So a slow step never brings an older view back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import gradio as gr

from liveedit.types import Answer, InputError, RoutingTrace
from liveedit.ui.expert_card import CardMap, edit_heatmap
from liveedit.ui.feature_map import map_html
from liveedit.ui.history import edits_digest
from liveedit.ui.ledger import LedgerView, acted, explanation_html, ledger_html, page_with
from liveedit.ui.markup import block
from liveedit.ui.session import Session
from liveedit.ui.what_if import MAX_SCALE, MAX_SHIFT, WhatIf, answered, routed, what_if_html
from liveedit.ui.wiring import PROGRESS, QUICK, Options, Updates, Wiring, clicked, told

HINT = "Each edit with what routing decided for it. Choose a heading to sort, an edit to see why it acted or where it stopped."
WHAT_IF_HINT = (
    "Try other settings on the last question. Routing is computed anew at once from kept features, the answer only "
    "when you ask for it. Nothing of this is kept, and your edits stay as they are."
)
KEPT_HEATMAPS = 64
# A state's change is told only by events that pass through the queue; these wait for no other.
BESIDE: Options = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
# A row that was opened from the map may lie outside the window.
SHOW_OPENED = "() => document.querySelector('#ledger tr.opened')?.scrollIntoView({block: 'nearest'})"

Tried = tuple[WhatIf, Answer] | None


@dataclass(frozen=True)
class LedgerPanel:
    """The components that its events connect."""

    text: gr.Textbox
    passed_only: gr.Checkbox
    margin: gr.Slider
    scale: gr.Slider
    try_button: gr.Button
    banner: gr.HTML
    ledger: gr.HTML
    map_box: gr.Accordion
    map: gr.HTML
    revision: gr.State


def build_ledger_panel(wiring: Wiring) -> LedgerPanel:
    """Filter, what-if, ledger and map; the last two closed at first."""
    block(f'<h2>Edits in the last question</h2><p class="hint">{HINT}</p>')
    with gr.Row(elem_id="ledger-tools"):
        text = gr.Textbox(
            label="Filter the edits", show_label=False, placeholder="Filter by words of the edits", container=False,
            max_lines=1, scale=3, min_width=180, elem_id="filter",
        )  # fmt: skip
        passed_only = gr.Checkbox(label="Passed only", container=False, scale=0, min_width=130, elem_id="passed-only")
    banner = block(clicks=True, elem_id="what-if")
    ledger = block(ledger_html(wiring.session.value, None, LedgerView()), clicks=True, elem_id="ledger")
    block(explanation_html(), elem_id="explanation")
    with gr.Accordion("What if …", open=False, elem_id="what-if-box"):
        block(f'<p class="hint">{WHAT_IF_HINT}</p>')
        with gr.Row(equal_height=True):
            margin = gr.Slider(
                -MAX_SHIFT, MAX_SHIFT, 0.0, step=0.1, label="Shift every margin by",
                info="Above zero more edits pass hard routing.", buttons=[], elem_id="margin-shift",
            )  # fmt: skip
            scale = gr.Slider(
                0.0, MAX_SCALE, 1.0, step=0.05, label="Scale every residual by",
                info="1 is real, 0 takes all effect away.", buttons=[], elem_id="residual-scale",
            )  # fmt: skip
        try_button = gr.Button("Answer with these settings", size="md", elem_id="try")
    with gr.Accordion("Map of the routing features", open=False, elem_id="map-box") as map_box:
        drawn = block(clicks=True, elem_id="map")
    revision = gr.State("")
    wiring.shows(revision, revision_of)
    return LedgerPanel(text, passed_only, margin, scale, try_button, banner, ledger, map_box, drawn, revision)


def revision_of(session: Session) -> str:
    """Another text whenever there are other edits or the last question is another, and at no other time.

    What follows a question or an edit (its probe, heatmaps) must not take back what the person has begun to try.
    """
    asked = session.asked
    shown = None if asked is None else (asked.query.prompt, asked.edits, asked.trace.threshold, asked.past is not None)
    # The identity tells a question that was asked again, with whatever answer, from the same one shown again.
    return repr((edits_digest(session.repository), session.made, shown, id(asked)))


def wire_ledger_panel(wiring: Wiring, panel: LedgerPanel) -> None:
    """Sorting, filtering, opening, trying: all without the model, but for heatmaps and answers on request."""
    view = gr.State(LedgerView())
    heatmaps = gr.State({})
    tried = gr.State(None)
    wanted, map_open = gr.State(""), gr.State(False)
    settings = [wiring.session, view, panel.margin, panel.scale]
    filters = [panel.text, panel.passed_only]

    def traced(state: Session, at: LedgerView, margin: object, scale: object) -> tuple[WhatIf, RoutingTrace | None]:
        what_if = WhatIf.checked(margin, scale, at.without)
        return what_if, routed(wiring.editor, state, what_if)

    @told
    def draw(
        state: Session, at: LedgerView, margin: float, scale: float, text: str, passed_only: bool,
        found: dict[str, CardMap], last: Tried,
    ) -> Updates:  # fmt: skip
        """Banner and ledger as they are now."""
        what_if, trace = traced(state, at, margin, scale)
        answer = last[1] if last is not None and last[0] == what_if else None
        return {
            panel.banner: what_if_html(state, what_if, trace, answer),
            panel.ledger: ledger_html(state, trace, at, str(text or ""), bool(passed_only), found, not what_if.real),
        }

    shown = [*settings, *filters, heatmaps, tried]
    drawn = [panel.banner, panel.ledger]

    @told
    def on_session(state: Session, at: LedgerView, margin: object, scale: object) -> Updates:
        """A new question or other edits: back to the real settings and the first page."""
        ids = {e.id for e in state.repository}
        opened = at.opened if at.opened in ids else ""
        # What is at its real setting is not set again: this may arrive when the person has just begun to type there.
        changed = {
            slider: real
            for slider, now, real in ((panel.margin, margin, 0.0), (panel.scale, scale, 1.0))
            if now != real
        }
        return {view: replace(at, page=0, opened=opened, without=frozenset()), tried: None, **changed}

    @told
    def on_ledger(state: Session, at: LedgerView, found: dict[str, CardMap], event: gr.EventData) -> Updates:
        at = acted(at, *clicked(event), frozenset(e.id for e in state.repository))
        return {view: at, wanted: at.opened if at.opened not in found else ""}

    @told
    def on_map(
        state: Session, at: LedgerView, margin: float, scale: float, found: dict[str, CardMap], event: gr.EventData
    ) -> Updates:
        """Open the edit of a point; the filter goes, so that it is sure to be seen."""
        item = clicked(event)[1]
        if item not in {e.id for e in state.repository}:
            raise InputError("there is no such edit any more: open the map again")
        at = replace(at, opened=item, page=page_with(state, traced(state, at, margin, scale)[1], at, item))
        return {view: at, wanted: item if item not in found else "", panel.text: "", panel.passed_only: False}

    @told
    def on_wanted(state: Session, expert_id: str, found: dict[str, CardMap]) -> Updates:
        if not expert_id or expert_id in found or expert_id not in state.names:
            return {heatmaps: found}
        kept = dict(list(found.items())[1 - KEPT_HEATMAPS :])
        return {heatmaps: {**kept, expert_id: edit_heatmap(wiring.editor, state, expert_id)}}

    @told
    def on_banner(at: LedgerView, event: gr.EventData) -> Updates:
        """Back to the real settings, or one edit put back."""
        action, item = clicked(event)
        if action == "without" and item in at.without:
            return {view: replace(at, without=at.without - {item})}
        return {view: replace(at, without=frozenset()), panel.margin: 0.0, panel.scale: 1.0}

    @told
    def on_try(
        state: Session, at: LedgerView, margin: object, scale: object, progress: gr.Progress = PROGRESS
    ) -> Updates:
        progress(0.1, desc="Asking the model with these settings")
        what_if = WhatIf.checked(margin, scale, at.without)
        return {tried: (what_if, answered(wiring.editor, state, what_if))}

    panel.revision.change(on_session, settings, [view, tried, panel.margin, panel.scale], **QUICK).success(
        draw, shown, drawn, **QUICK
    )
    gr.on(
        [panel.text.input, panel.passed_only.input, panel.margin.input, panel.scale.input],
        draw, shown, drawn, trigger_mode="always_last", **QUICK,
    )  # fmt: skip
    panel.ledger.click(on_ledger, [wiring.session, view, heatmaps], [view, wanted], **BESIDE).success(
        draw, shown, drawn, **QUICK
    )
    wanted.change(
        on_wanted, [wiring.session, wanted, heatmaps], heatmaps, **wiring.queued(show_progress="hidden")
    ).success(draw, shown, drawn, **QUICK)  # fmt: skip
    panel.banner.click(on_banner, view, [view, panel.margin, panel.scale], **QUICK).success(
        draw, shown, drawn, **QUICK
    )
    panel.try_button.click(on_try, settings, tried, **wiring.queued(show_progress_on=panel.banner)).success(
        draw, shown, drawn, **QUICK
    )

    @told
    def draw_map(state: Session, opened: bool) -> str:
        return map_html(state) if opened else ""

    panel.map_box.expand(lambda: True, None, map_open, **QUICK).success(
        draw_map, [wiring.session, map_open], panel.map, **QUICK
    )
    panel.map_box.collapse(lambda: False, None, map_open, **QUICK)
    panel.revision.change(draw_map, [wiring.session, map_open], panel.map, **QUICK)
    panel.map.click(on_map, [*settings, heatmaps], [view, wanted, *filters], **BESIDE).success(
        draw, shown, drawn, **QUICK
    ).success(None, None, None, js=SHOW_OPENED)
