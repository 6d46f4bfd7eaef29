"""What the server does beside answering: it clears up behind pages that were left, sweeps, and gives memory back."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import gradio as gr
from gradio.route_utils import API_PREFIX
from gradio.routes import App
from starlette.requests import Request
from starlette.responses import Response

from liveedit.ui.allocator import give_back
from liveedit.ui.scratch import sweep
from liveedit.ui.visits import SESSION_SECONDS, Visits
from liveedit.ui.wiring import QUICK

SWEEP_SECONDS = 60
LEAVE = f"{API_PREFIX}/leave"
# A page that the browser keeps, to come back to, is not left yet. The address is relative to the page, which may be served
# below another one.
TELL = f"""(visit) => {{
    window.addEventListener('pagehide', (event) => {{
        if (visit && !event.persisted) navigator.sendBeacon('.{LEAVE}/' + encodeURIComponent(visit));
    }});
}}"""


def tell_when_left(page: gr.Blocks) -> None:
    """Let each page that is opened say so when it is left.

    Gradio tells of a connection that broke, which is no sign: that of a laptop asleep breaks too, and its edits are there yet.
    """

    def on_load(request: gr.Request) -> str:
        return str(request.session_hash or "")

    visit = gr.Textbox(visible="hidden", elem_id="visit")
    page.load(on_load, None, visit, **QUICK).success(None, visit, None, js=TELL)


def lifespan_of(visits: Visits, folder: Path) -> Callable[[App], AbstractAsyncContextManager[None]]:
    """For the server: its visitors are ``visits``, who may leave; every minute ``folder`` is swept and freed memory given back."""

    def on_leave(request: Request) -> Response:
        visits.leave(request.path_params["visit"])
        return Response(status_code=204)

    @contextlib.asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        page = app.get_blocks()
        app.state_holder = visits
        visits.set_blocks(page)
        app.add_route(LEAVE + "/{visit}", on_leave, ["POST"])

        def tidy() -> None:
            give_back()
            visits.remove_left()
            sweep(folder, SESSION_SECONDS, visits.pictures())
            for known in page.temp_file_sets:
                known.difference_update([path for path in list(known) if not os.path.exists(path)])

        async def tidy_again() -> None:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                await asyncio.to_thread(tidy)

        task = asyncio.create_task(tidy_again())
        try:
            yield
        finally:
            task.cancel()

    return lifespan
