"""What the server is closed to, whatever it is asked: addresses to fetch, bodies without end, routes no page needs.

Gradio fetches a public address for whoever asks: as the path of a "file" in any event's inputs, and behind
``/gradio_api/file=``. This program has no use for either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of anything but an upload, whose size Gradio limits itself; the API's pictures may come as text.
MAX_BODY = 8 * 2**20
# Lists, objects and what they hold. An event of the page has a hundred, a call of the API with all its edits a thousand.
MAX_PARTS = 20_000
# Bytes that all bodies may take which are being read or wait in the queue. Small ones are let in all the same: there are
# no more of them than the queue is long, and who uses the page sends no others.
MOST_HELD = 128 * 2**20
SMALL = 2**18
# Bytes of memory for a part, as Gradio parses and copies it, and for a byte of text: escapes can make each four bytes long.
_PART, _PLAIN, _WIDE = 200, 4, 9
# Where the weight of a body stands in the scope of its request, which its event keeps.
WEIGHT = "liveedit.weight"
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")
UPLOAD = "/gradio_api/upload"
CLOSED = ("proxy=", "deep_link", "run-history", "process_recording", "vibe-", "undo-vibe-", "stream/", "custom_component/")


class GatedBlocks(gr.Blocks):
    """Blocks whose events take no address in a file's place, be it sent by a page, a client or a tool."""

    def waiting(self) -> int:
        """Bytes that the bodies of all events take which wait or run."""
        return sum(event.request.scope.get(WEIGHT, 0) for event in list(self._queue.event_ids_to_events.values()))

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False) -> Any:
        """As Gradio does, which would fetch the address; what cannot be an input is refused in a sentence."""
        if holds_address(inputs):
            raise gr.Error("A picture must be uploaded as a file: addresses are not fetched.", print_exception=False)
        if not encodable(inputs):
            raise gr.Error("The text contains half of a character: type it again.", print_exception=False)
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except ValueError as error:
            # Gradio's and pydantic's own words name the server's files and types.
            raise gr.Error("What was sent is no input of this page: reload it.", print_exception=False) from error


def holds_address(value: Any) -> bool:
    """Whether anything inside has the form of a file that lies behind an address."""
    return any("://" in path or path.startswith("data:") for path in paths_in(value))


def paths_in(value: Any) -> Iterator[str]:
    """The paths of everything inside that has the form of a file."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            path = value.get("path")
            if isinstance(path, str):
                yield path
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)


def encodable(value: Any) -> bool:
    """Whether no text inside has half of a surrogate pair, which can be sent back to nobody: the connection would break."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


class Gate:
    """ASGI middleware that refuses closed routes, and bodies that are too large or of too many parts before they are parsed.

    ``waiting`` says what the bodies take that were let in and not done with.
    """

    def __init__(self, app: ASGIApp, waiting: Callable[[], int] = lambda: 0) -> None:
        self.app = app
        self.waiting = waiting
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if not is_open(path):
            await PlainTextResponse("This server does not offer that.", 403)(scope, receive, send)
            return
        upload = path.rstrip("/").endswith(UPLOAD)
        claimed = dict(scope["headers"]).get(b"content-length", b"0")
        if not upload and claimed.isdigit() and int(claimed) > MAX_BODY:
            await _too_large(scope, receive, send)
            return
        if upload or scope["method"] in _WITHOUT_BODY:
            await self.app(scope, receive, send)
            return
        body, own = bytearray(), 0

        def fits(weight: int) -> bool:
            """Hold so many bytes for this body; whether there is room for them."""
            nonlocal own
            self.held, own = self.held + weight - own, weight
            return weight <= SMALL or self.held + self.waiting() <= MOST_HELD

        try:
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    return
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_BODY:
                    await _too_large(scope, receive, send)
                    return
                if more and not fits(_PLAIN * len(body)):
                    await _busy(scope, receive, send)
                    return
            if parts_of(body) > MAX_PARTS:
                await _refuse(413, f"A request may have {MAX_PARTS:,} parts: send fewer at a time.")(scope, receive, send)
                return
            scope[WEIGHT] = weight_of(body)
            if not fits(scope[WEIGHT]):
                await _busy(scope, receive, send)
                return
            whole: Message | None = {"type": "http.request", "body": bytes(body), "more_body": False}
            del body

            async def replayed() -> Message:
                """The body that was read, once; then what comes after it."""
                nonlocal whole
                message, whole = whole, None
                return await receive() if message is None else message

            await self.app(scope, replayed, send)
        finally:
            self.held -= own


def parts_of(body: bytes | bytearray) -> int:
    """At most so many lists, objects and values JSON has; commas and brackets inside texts count as well."""
    return sum(body.count(mark) for mark in (b"{", b"[", b","))


def weight_of(body: bytes | bytearray) -> int:
    """At most so many bytes a body takes while it is read and parsed, and as long as its event waits."""
    plain = body.isascii() and b"\\u" not in body
    return len(body) * (_PLAIN if plain else _WIDE) + parts_of(body) * _PART


def is_open(path: str) -> bool:
    """Whether a route is one that the page or its interface needs."""
    name = path.partition("/gradio_api/")[2]
    if name.startswith("file") and "://" in name:
        return False
    return not name.startswith(CLOSED)


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    await _refuse(413, f"A request may have {MAX_BODY // 2**20} MB; upload pictures as files.")(scope, receive, send)


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    text = "So many large requests wait already that there is no room for this one: try again in a minute."
    await _refuse(503, text)(scope, receive, send)


def _refuse(status: int, text: str) -> JSONResponse:
    """An answer whose sentence the page shows."""
    return JSONResponse({"detail": text}, status)
