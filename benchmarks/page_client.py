"""A visitor of the page without a browser: the page's own events over HTTP, found by the elem_ids of its components.

What a browser does with Gradio's protocol, as far as the other scripts here need it: uploads, events through the queue, the
steps that follow them, all at once, streamed outputs, events of components and states that changed, a value for every component.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from gradio_client.utils import apply_diff

ROOT = Path(__file__).resolve().parents[1]
API = "gradio_api"


class Refused(Exception):
    """The page's sentence about what it does not do."""


@dataclass
class Sent:
    """An event that was sent: what it has streamed so far, and whether what follows it is sent too."""

    event: dict[str, Any]
    follow: bool = True
    shown: list[Any] = field(default_factory=list)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """The page, served by the real program on a free port: its address and its process's id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "uploads")}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen([sys.executable, str(ROOT / "app.py"), "--port", str(port)], cwd=folder, env=env,
                                   stdout=log, stderr=log)  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"the page did not come up:\n{(folder / 'server.log').read_text()[-2000:]}")
            try:
                httpx.get(address, timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.5)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(30)


def memory(pid: int) -> tuple[float, float]:
    """Resident megabytes of a process: now, and at most since :func:`forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return now, peak


def forget_peak(pid: int) -> None:
    """Measure the highest use of memory from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Visitor:
    """One person on the page: a session of their own, and what each component shows them."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=600)
        self.session = uuid.uuid4().hex[:12]
        config = self.http.get("/config").json()
        self.ids = {c["props"]["elem_id"]: c["id"] for c in config["components"] if c.get("props", {}).get("elem_id")}
        self.values: dict[int, Any] = {c["id"]: c.get("props", {}).get("value") for c in config["components"]}
        self.html = [c["id"] for c in config["components"] if c["type"] == "html"]
        self.events = config["dependencies"]
        # What was sent to the queue and is not answered yet, and what was refused on the way.
        self.waiting: dict[str, Sent] = {}
        self.refused: list[Refused] = []

    def close(self) -> None:
        """Leave the page, as a browser tells when its tab is closed."""
        self.http.post(f"/{API}/leave/{self.session}")
        self.http.close()

    def value(self, elem_id: str) -> Any:
        """What a component shows."""
        return self.values[self.ids[elem_id]]

    def text(self, elem_id: str) -> str:
        """The words of a piece of HTML, without its markup."""
        return words(str(self.value(elem_id) or ""))

    def markup(self) -> str:
        """All HTML that the page shows now."""
        return "".join(str(self.values[i]) for i in self.html)

    def fill(self, elem_id: str, value: Any) -> None:
        """Type into a component, or put an upload there."""
        self.values[self.ids[elem_id]] = value

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Send a file as the browser does; what an image box then holds."""
        answer = self.http.post(f"/{API}/upload", files={"files": (name, content)})
        if answer.status_code != 200:
            raise Refused(answer.text[:200])
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def picture(self, name: str, content: bytes) -> None:
        """Upload a picture into the picture box."""
        self.fill("picture", self.upload(name, content))
        self.trigger("picture", "change")

    def ask(self, question: str) -> tuple[str, str]:
        """Ask; returns what the unedited and the edited model said."""
        self.fill("question", question)
        self.trigger("ask", "click")
        return self.said("base"), self.said("edited")

    def edit(self, prompt: str, target: str) -> None:
        """Apply an edit to the picture."""
        self.fill("edit-prompt", prompt)
        self.fill("edit-target", target)
        self.trigger("apply", "click")

    def said(self, which: str) -> str:
        """The answer on one of the two cards ("base", "edited")."""
        found = re.search(rf'class="answer {which}".*?<p class="said">(.*?)</p>', str(self.value("answers")), re.S)
        return words(found[1]) if found else ""

    def targets(self) -> list[str]:
        """The new answers of the edits in the list."""
        return [words(t) for t in re.findall(r'<span class="target">(.*?)</span>', str(self.value("edits")), re.S)]

    def trigger(self, elem_id: str, event: str, data: Any = None) -> None:
        """Let an event happen, with the steps that follow it; raises :class:`Refused` with the page's sentence."""
        wanted = [self.ids[elem_id], event]
        numbers = [d["id"] for d in self.events if wanted in [list(t) for t in d["targets"]]]
        if not numbers:
            raise LookupError(f"the page has no event {event} of {elem_id}")
        for number in numbers:
            self.run(number, data)

    def run(self, number: int, data: Any = None) -> None:
        """One event by its number, then what follows; raises :class:`Refused` when any of it is, after all of it."""
        self.begin(number, data)
        self.listen()

    def call(self, event: dict[str, Any], inputs: list[Any], data: Any = None) -> None:
        """Send inputs to an event as they are, whatever they are, and take its outputs; nothing follows."""
        self.send(Sent(event, follow=False), inputs, data)
        self.listen()

    def begin(self, number: int, data: Any = None) -> None:
        """Send one event with what its components show."""
        event = next(d for d in self.events if d["id"] == number)
        self.send(Sent(event), [self.values.get(i) for i in event["inputs"]], data)

    def send(self, sent: Sent, inputs: list[Any], data: Any) -> None:
        """Send an event, which waits in the queue from then on, or is answered at once."""
        event = sent.event
        body = {"data": inputs, "fn_index": event["id"], "session_hash": self.session, "event_data": data,
                "trigger_id": event["targets"][0][0] if event["targets"] else None}  # fmt: skip
        try:
            if not event["backend_fn"]:
                self.done(sent, {"data": []})
            elif event["queue"]:
                self.waiting[self.outputs(self.post("queue/join", body))["event_id"]] = sent
            else:
                answer = self.outputs(self.post("run/predict", body))
                # Of a state that changed the page learns through the queue alone.
                self.done(sent, {**answer, "changed_state_ids": []})
        except Refused as refused:
            self.refused.append(refused)

    def listen(self) -> None:
        """Take what comes until nothing waits any more."""
        while self.waiting:
            closed = False
            with self.http.stream("GET", f"/{API}/queue/data", params={"session_hash": self.session}) as stream:
                # To its end: for whom goes earlier, the server drops what waits.
                for line in stream.iter_lines():
                    message = json.loads(line[5:]) if line.startswith("data:") else {}
                    closed = closed or message.get("msg") == "close_stream"
                    if message.get("event_id") in self.waiting:
                        self.hear(message)
            if not closed:
                self.waiting.clear()
                self.refused.append(Refused("the page closed the connection"))
        if self.refused:
            first, self.refused = self.refused[0], []
            raise first

    def hear(self, message: dict[str, Any]) -> None:
        """One message about an event that waits."""
        sent, output = self.waiting[message["event_id"]], message.get("output") or {}
        if message["msg"] == "process_generating" and message["success"]:
            now = output["data"]
            sent.shown = [apply_diff(a, b) for a, b in zip(sent.shown, now, strict=True)] if sent.shown else now
        if message["msg"] == "process_completed":
            del self.waiting[message["event_id"]]
            if message["success"]:
                self.done(sent, {**output, "data": sent.shown or output["data"]})
            else:
                self.refused.append(Refused(words(str(output.get("error") or ""))))

    def done(self, sent: Sent, output: dict[str, Any]) -> None:
        """Show the outputs of an event, and send all that follows it and all that belongs to what changed."""
        changed = [*self.take(sent.event, output), *output.get("changed_state_ids", [])]
        if sent.follow:
            for step in self.events:
                after = step.get("trigger_after") == sent.event["id"] and not step.get("trigger_only_on_failure")
                if after or any([i, "change"] in [list(t) for t in step["targets"]] for i in changed):
                    self.begin(step["id"])

    def post(self, route: str, body: Any) -> httpx.Response:
        """Send JSON, be it text that no Unicode encoding has."""
        return self.http.post(f"/{API}/{route}", content=json.dumps(body), headers={"content-type": "application/json"})

    def outputs(self, answer: httpx.Response) -> dict[str, Any]:
        """The JSON of an answer; raises :class:`Refused` when it is none."""
        if answer.status_code != 200:
            raise Refused(sentence_of(answer))
        value: dict[str, Any] = answer.json()
        return value

    def take(self, event: dict[str, Any], output: dict[str, Any]) -> list[int]:
        """Show the outputs of an event; the components that show something else now."""
        changed = []
        for component, value in zip(event["outputs"], output["data"], strict=False):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" not in value:
                    continue
                value = value["value"]
            if value != self.values.get(component):
                changed.append(component)
            self.values[component] = value
        return changed


def sentence_of(answer: httpx.Response) -> str:
    """What an answer that is none says."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return words(str(answer.json()["detail"]))
    return words(answer.text[:300])


def words(markup: str) -> str:
    """The text of HTML, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split())
