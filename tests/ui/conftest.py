"""A person's session over the open editor, whose experts all pass hard routing: six edits, and one question."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import httpx
import pytest
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.ui import page
from liveedit.ui import session as actions
from liveedit.ui.pictures import data_uri
from liveedit.ui.session import Session
from liveedit.ui.wiring import Wiring


@pytest.fixture(scope="session")
def serve() -> Callable[..., str]:
    """Serves an editor's page by the program's own function until the tests end; its address, once it answers."""

    def served(editor: LiveEdit, mcp: bool = False) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        threading.Thread(target=page.launch, args=(editor, "127.0.0.1", port, "", mcp), daemon=True).start()
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{port}/config")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        return f"http://127.0.0.1:{port}"

    return served


def asked(editor: LiveEdit, session: Session) -> Session:
    """The session after its question, once both answers are complete."""
    *_, last = actions.ask(editor, session, "What is it?")
    assert isinstance(last, Session)
    return last


@pytest.fixture
def busy_session(open_editor: LiveEdit, open_repository: ExpertRepository, pictures: list[Image]) -> Session:
    """Six edits, and a question about a picture that none of them was made on."""
    names = {e.id: f"Edit {number}" for number, e in enumerate(open_repository, 1)}
    thumbnails = {e.id: data_uri(e.edit.image, 16) for e in open_repository}
    session = Session(open_repository, names, thumbnails, made=len(names), picture=pictures[7])
    return asked(open_editor, session)


@pytest.fixture
def wordy_session(open_editor: LiveEdit, open_repository: ExpertRepository) -> Session:
    """The same edits, and a question without a picture."""
    names = {e.id: f"Edit {number}" for number, e in enumerate(open_repository, 1)}
    session = Session(open_repository, names, dict.fromkeys(names, ""), made=len(names))
    return asked(open_editor, session)


@pytest.fixture
def wiring(open_editor: LiveEdit, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """The wiring of the whole page, with everything that shows a session."""
    made: list[Wiring] = []

    def keep(*args: object) -> Wiring:
        made.append(Wiring(*args))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(page, "Wiring", keep)
    page.build_page(open_editor)
    return made[0]
