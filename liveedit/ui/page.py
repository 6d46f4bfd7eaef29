"""The page as a whole: layout, and which action refreshes what.

Every action that reads or writes a session runs in one queue of width one, so that a person's quick clicks
are applied one after another and the shared model is never used twice at a time.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from liveedit.editors import LiveEdit
from liveedit.pictures import open_picture
from liveedit.types import InputError, LiveEditError
from liveedit.ui import session as actions
from liveedit.ui.ask_panel import answers_html, build_ask_panel, suggestions_html
from liveedit.ui.edit_panel import build_edit_panel, check_html
from liveedit.ui.markup import block, escape, sentence
from liveedit.ui.picture_panel import build_edits_list, build_picture_panel, edits_html
from liveedit.ui.pictures import uploaded_path
from liveedit.ui.session import Session
from liveedit.ui.why_panel import (
    build_why_panel,
    find_heatmaps,
    heatmaps_html,
    ledger_html,
    pending_html,
    summary_html,
    weights_plot,
)
from liveedit.ui.wording import describe_model
from liveedit.world.catalogue import ASSETS
from liveedit.world.examples import read_examples

P = ParamSpec("P")
R = TypeVar("R")
Updates = dict[Any, Any]
Options = dict[str, Any]
Upload = dict[str, Any] | None

LOG = logging.getLogger(__name__)
SESSION_SECONDS = 3600
SESSIONS = 64
QUEUE = 64
PROGRESS = gr.Progress()


def told(action: Callable[P, R]) -> Callable[P, R]:
    """Turn errors of an action into one sentence on the page; what is unexpected is logged, not shown."""

    @functools.wraps(action)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return action(*args, **kwargs)
        except LiveEditError as error:
            # Messages are shown as HTML: "<image>" in one must stay readable.
            raise gr.Error(escape(sentence(str(error))), print_exception=False) from error
        except Exception as error:
            LOG.exception("an action of the page failed")
            raise gr.Error(
                "Something unexpected went wrong; your edits are kept. Try again, or look at the server's log.",
                print_exception=False,
            ) from error

    return wrapped


def build_page(editor: LiveEdit, assets: Path = ASSETS) -> gr.Blocks:
    """The whole page over one editor, which all visitors share; their edits stay apart."""
    examples = read_examples(assets)
    start = Session.empty(editor.config)
    with gr.Blocks(
        title="LiveEdit Workbench", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        session = gr.State(start, time_to_live=SESSION_SECONDS)
        block(_header(*describe_model(editor.backbone)), elem_id="header")
        with gr.Row(elem_id="workbench"):
            with gr.Column(elem_id="left", min_width=260):
                with gr.Column(elem_id="picture-panel"):
                    left = build_picture_panel(examples, assets)
                with gr.Column(elem_id="edits-panel"):
                    edits = build_edits_list()
            with gr.Column(elem_id="middle", min_width=300):
                with gr.Column(elem_id="ask-panel"):
                    ask = build_ask_panel()
                with gr.Column(elem_id="edit-panel"):
                    edit = build_edit_panel()
            with gr.Column(elem_id="right", min_width=320), gr.Column(elem_id="why-panel"):
                reason = build_why_panel(start)

        shown = [session, ask.answers, edits, edit.check, reason.summary, reason.ledger, reason.plot, reason.heatmaps]

        def view(state: Session) -> Updates:
            """Everything that depends on the session; heatmaps follow in a step of their own."""
            figure = weights_plot(state)
            return {
                session: state,
                ask.answers: answers_html(state),
                edits: edits_html(state),
                edit.check: check_html(state),
                reason.summary: summary_html(state),
                reason.ledger: ledger_html(state),
                reason.plot: gr.Plot(value=figure, visible=figure is not None),
                reason.heatmaps: pending_html(state),
            }

        @told
        def on_picture(state: Session, upload: Upload) -> Updates:
            """Check an upload at once, and clear what was said about the picture before."""
            changed = actions.with_picture(state, uploaded_path(upload))
            return {session: state} if changed is state else view(changed)

        @told
        def on_example(event: gr.EventData) -> Updates:
            example = examples[_index(event, len(examples))]
            return {
                left.picture: gr.update(value=open_picture(assets / example.file), alt_text=example.alt),
                ask.suggestions: suggestions_html(example.questions),
                ask.question: example.questions[0],
                edit.prompt: example.questions[0],
            }

        @told
        def on_suggestion(event: gr.EventData) -> tuple[str, str]:
            return (_item(event),) * 2

        @told
        def on_ask(state: Session, upload: Upload, question: str, progress: gr.Progress = PROGRESS) -> Updates:
            progress(0.1, desc="Asking the unedited and the edited model")
            state = actions.ask(editor, actions.with_picture(state, uploaded_path(upload)), str(question or ""))
            return {**view(state), edit.prompt: question}

        @told
        def on_apply(
            state: Session, upload: Upload, prompt: str, target: str, progress: gr.Progress = PROGRESS
        ) -> Updates:
            progress(0.1, desc="Making the edit and asking again")
            state = actions.apply_edit(
                editor, actions.with_picture(state, uploaded_path(upload)), str(prompt or ""), str(target or "")
            )
            return {**view(state), ask.question: prompt}

        @told
        def on_edits(state: Session, event: gr.EventData, progress: gr.Progress = PROGRESS) -> Updates:
            progress(0.1, desc="Asking again")
            action = {"switch": actions.switch, "remove": actions.remove}.get(event._data.get("action", ""))
            if action is None:
                raise InputError("this button is unknown: reload the page")
            return view(action(editor, state, _item(event)))

        @told
        def on_heatmaps(state: Session, progress: gr.Progress = PROGRESS) -> Updates:
            progress(0.1, desc="Finding the regions that mattered")
            own, maps = find_heatmaps(editor, state)
            kept = replace(state, heatmaps={**state.heatmaps, **maps})
            return {session: kept, reason.heatmaps: heatmaps_html(kept, own, maps)}

        one_at_a_time: Options = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        # The picture's raw value: see uploaded_path.
        one_at_a_time["preprocess"] = False
        quick: Options = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        heat: Options = {"show_progress_on": reason.heatmaps, **one_at_a_time}

        left.examples.click(
            on_example, None, [left.picture, ask.suggestions, ask.question, edit.prompt], **quick
        )  # fmt: skip
        ask.suggestions.click(on_suggestion, None, [ask.question, edit.prompt], **quick)
        left.picture.change(
            on_picture, [session, left.picture], shown, show_progress="hidden", **one_at_a_time
        ).failure(lambda: None, None, left.picture, **quick)
        gr.on(
            [ask.button.click, ask.question.submit], on_ask, [session, left.picture, ask.question],
            [*shown, edit.prompt], show_progress_on=ask.answers, **one_at_a_time,
        ).success(on_heatmaps, session, [session, reason.heatmaps], **heat)  # fmt: skip
        gr.on(
            [edit.button.click, edit.target.submit], on_apply, [session, left.picture, edit.prompt, edit.target],
            [*shown, ask.question], show_progress_on=[edit.check, ask.answers], **one_at_a_time,
        ).success(on_heatmaps, session, [session, reason.heatmaps], **heat)  # fmt: skip
        edits.click(
            on_edits, session, shown, show_progress_on=ask.answers, trigger_mode="multiple", **one_at_a_time
        ).success(on_heatmaps, session, [session, reason.heatmaps], **heat)
    return page


def theme() -> gr.themes.Base:
    """Colours and fonts; only fonts that the visitor's system has, so nothing is fetched."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Consolas", "monospace"],
    )


def launch(editor: LiveEdit, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until interrupted."""
    page = build_page(editor)
    page.queue(max_size=QUEUE)
    print(f"Models loaded, serving on http://{host}:{port}", file=sys.stderr, flush=True)
    try:
        page.launch(
            server_name=host, server_port=port, theme=theme(), css_paths=[ASSETS / "style.css"], footer_links=[],
            show_error=True, max_file_size="100mb", state_session_capacity=SESSIONS, allowed_paths=[],
            ssr_mode=False, quiet=True,
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"the page cannot be served on {host}:{port} ({error}): choose another --port") from error


def _item(event: gr.EventData) -> str:
    """What a clicked button stands for; the browser sends it, so it may be anything."""
    return str((event._data or {}).get("item", ""))


def _index(event: gr.EventData, count: int) -> int:
    item = _item(event)
    if not item.isdecimal() or int(item) >= count:
        raise InputError("there is no such example: reload the page")
    return int(item)


def _header(model: str, ability: str) -> str:
    return (
        "<header><h1>LiveEdit Workbench</h1><p>Correct what a vision-language model answers, without training it, "
        "and see which of your edits answered.</p>"
        f'<p class="model"><b>{escape(model)}.</b> {escape(ability)}</p></header>'
    )
