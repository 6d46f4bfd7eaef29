"""The page as a whole: which panels it has, where they stand, and how it is served."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from liveedit.editors import LiveEdit
from liveedit.types import InputError
from liveedit.ui.api import add_api
from liveedit.ui.ask_panel import build_ask_panel, wire_ask_panel
from liveedit.ui.compare_panel import build_compare_panel, wire_compare_panel
from liveedit.ui.edit_panel import build_edit_panel, wire_edit_panel
from liveedit.ui.edits_panel import build_edits_panel, wire_edits_panel
from liveedit.ui.figure_panel import build_figure_panel
from liveedit.ui.gate import Gate
from liveedit.ui.heatmap_panel import build_heatmap_panel, wire_heatmap_panel
from liveedit.ui.history_panel import build_history_panel, wire_history_panel
from liveedit.ui.keep_panel import build_keep_panel, wire_keep_panel
from liveedit.ui.keeping import MOST_FILE
from liveedit.ui.ledger_panel import build_ledger_panel, wire_ledger_panel
from liveedit.ui.markup import block, escape
from liveedit.ui.picture_panel import build_picture_panel, wire_picture_panel
from liveedit.ui.room import Room
from liveedit.ui.scratch import own_folder
from liveedit.ui.session import Session
from liveedit.ui.tour_panel import build_tour_panel, wire_tour_panel
from liveedit.ui.upkeep import lifespan_of, tell_when_left
from liveedit.ui.visits import SESSION_SECONDS, VisitedBlocks, Visits
from liveedit.ui.why_panel import build_why_panel
from liveedit.ui.wiring import Wiring
from liveedit.ui.wording import describe_model
from liveedit.world.catalogue import ASSETS
from liveedit.world.examples import read_examples

SESSIONS = 1000  # with edits or without; what they may hold together is another limit
# Steps that may wait. Thirty people who press a button at once, and again before it is done, make two or three each: an edit
# is followed by its probe and its heatmaps. What their requests may take in memory is limited by itself.
QUEUE = 256


def build_page(editor: LiveEdit, assets: Path = ASSETS, reason: str = "") -> VisitedBlocks:
    """The whole page over one editor, which all visitors share; their edits stay apart.

    ``reason`` is a sentence that says why this model is served.
    """
    checkpoints = assets.parent / "checkpoints"
    visits = Visits(Room.beside(editor.config))
    with VisitedBlocks(visits, title="LiveEdit Workbench", analytics_enabled=False, fill_width=True) as page:
        session = visits.state = gr.State(Session(editor.empty()))
        wiring = Wiring(editor, read_examples(assets), assets, session, visits)
        block(_header(*describe_model(editor.backbone), reason), elem_id="header")
        tour = build_tour_panel()
        with gr.Row(elem_id="workbench"):
            with gr.Column(elem_id="left", min_width=260):
                with gr.Column(elem_id="picture-panel"):
                    picture = build_picture_panel(wiring)
                with gr.Column(elem_id="edits-panel"):
                    edits = build_edits_panel(wiring)
                    keep = build_keep_panel(wiring)
            with gr.Column(elem_id="middle", min_width=300):
                with gr.Column(elem_id="ask-panel"):
                    ask = build_ask_panel(wiring)
                    history = build_history_panel(wiring)
                with gr.Column(elem_id="edit-panel"):
                    edit = build_edit_panel(wiring)
            with gr.Column(elem_id="right", min_width=320), gr.Column(elem_id="why-panel"):
                build_why_panel(wiring)
                heat = build_heatmap_panel(wiring)
                build_figure_panel(wiring, heat)
        with gr.Column(elem_id="ledger-panel"):
            ledger = build_ledger_panel(wiring)
        with gr.Column(elem_id="compare-panel"):
            compare = build_compare_panel(wiring, checkpoints, assets.parent / "docs" / "results")

        # Events come after all panels: an action's outputs are what all of them show.
        wire_picture_panel(wiring, picture, ask, edit.prompt)
        wire_ask_panel(wiring, ask, picture.picture, edit.prompt)
        wire_history_panel(wiring, history, picture.picture, ask.question, edit.prompt)
        wire_edit_panel(wiring, edit, picture.picture, ask.question, ask.answers)
        wire_edits_panel(wiring, edits, ask.answers, picture.picture, ask.question, edit.prompt)
        wire_tour_panel(wiring, tour, picture.picture, ask, edit)
        wire_heatmap_panel(wiring, heat)
        wire_keep_panel(wiring, keep, picture.picture, ask.question, edit.prompt)
        wire_ledger_panel(wiring, ledger)
        wire_compare_panel(wiring, compare, checkpoints)
        add_api(wiring)
        tell_when_left(page)
    return page


def theme() -> gr.themes.Base:
    """Colours and fonts; only fonts that the visitor's system has, so nothing is fetched."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Consolas", "monospace"],
    ).set(
        # Gradio's own choices here have a contrast below 4.5 to 1.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def launch(editor: LiveEdit, host: str = "127.0.0.1", port: int = 7860, reason: str = "", mcp: bool = False) -> None:
    """Serve the page until interrupted; with ``mcp`` its API is an MCP server too."""
    if mcp and find_spec("mcp") is None:
        raise InputError(
            f"--mcp needs the package mcp, which is not installed: run `pip install \"gradio[mcp]=={gr.__version__}\"`, "
            "or leave --mcp out (on a hosted space: set LIVEEDIT_MCP=0)"
        )
    with own_folder(SESSION_SECONDS) as folder:
        page = build_page(editor, reason=reason)
        # Else Gradio would also run what waits here at once, for whoever posts to /run/ or /api/, beside the queue.
        page.queue(max_size=QUEUE, api_open=False)
        print(f"Models loaded, serving on http://{host}:{port}", file=sys.stderr, flush=True)
        kwargs = {"middleware": [Middleware(Gate, waiting=page.waiting)], "lifespan": lifespan_of(page.visits, folder)}
        try:
            page.launch(
                server_name=host, server_port=port, theme=theme(), css_paths=[ASSETS / "style.css"], footer_links=["api"],
                show_error=True, max_file_size=f"{MOST_FILE}mb", state_session_capacity=SESSIONS, allowed_paths=[],
                ssr_mode=False, quiet=True, enable_monitoring=False, app_kwargs=kwargs, mcp_server=mcp,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"the page cannot be served on {host}:{port} ({error}): choose another --port") from error


def _header(model: str, ability: str, reason: str) -> str:
    return (
        "<header><h1>LiveEdit Workbench</h1><p>Correct what a vision-language model answers, without training it, "
        "and see which of your edits answered.</p>"
        f'<p class="model"><b>{escape(model)}.</b> {escape(" ".join((ability, reason)).strip())}</p></header>'
    )
