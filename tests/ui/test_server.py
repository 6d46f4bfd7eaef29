"""The served page against crafted requests: it reads no file outside the session, fetches nothing, and goes on serving."""

from __future__ import annotations

import http.server
import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from PIL import Image

from liveedit import LiveEdit
from liveedit.ui import gate
from liveedit.ui import page as page_module
from liveedit.ui import visits as visits_module
from liveedit.ui.gate import MAX_BODY, MAX_PARTS, encodable, holds_address, is_open
from liveedit.ui.scratch import PREFIX
from liveedit.ui.upkeep import lifespan_of
from liveedit.ui.visits import Visits

ROOT = Path(__file__).resolve().parents[2]
SECRET = "nobody shall read this"


def load_client() -> ModuleType:
    """``benchmarks/page_client.py``, which is no package."""
    spec = spec_from_file_location("page_client", ROOT / "benchmarks" / "page_client.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["page_client"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


client = load_client()


@pytest.fixture(scope="module")
def server(
    open_editor: LiveEdit, serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Visits, Path]]:
    """The page of a tiny editor, served by the program's own function: its address, its visitors and its folder."""
    held: list[Any] = []

    def noted(visits: Visits, folder: Path) -> Any:
        held[:] = visits, folder
        return lifespan_of(visits, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        patch.setattr(page_module, "lifespan_of", noted)
        yield serve(open_editor), held[0], held[1]


@pytest.fixture(scope="module")
def address(server: tuple[str, Visits, Path]) -> str:
    return server[0]


@pytest.fixture
def visitor(address: str) -> Iterator[Any]:
    someone = client.Visitor(address)
    yield someone
    someone.close()


@pytest.fixture
def bait() -> Iterator[tuple[str, list[str]]]:
    """A server with a picture, and the requests that it got."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png())

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/p.png", asked
    server.shutdown()


def png(colour: str = "navy") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(buffer, "PNG")
    return buffer.getvalue()


def file(path: Any, **more: Any) -> dict[str, Any]:
    """A file as an event's input has it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def test_a_visitor_without_a_browser_asks_and_edits(visitor: Any, address: str) -> None:
    visitor.picture("p.png", png())
    base, edited = visitor.ask("What is this?")
    assert base == edited
    visitor.edit("What is this?", "teapot")
    assert visitor.targets() == ["teapot"]
    other = client.Visitor(address)
    assert other.targets() == [] and "teapot" not in other.text("answers")
    other.close()


def test_undoing_that_a_session_was_opened_puts_its_picture_and_question_back(visitor: Any, address: str) -> None:
    other = client.Visitor(address)
    other.picture("q.png", png("red"))
    other.edit("How many?", "seven")
    other.trigger("keep-files", "click", {"action": "keep", "item": "session"})
    link = re.search(r'href="\./([^"]+)"', other.value("delivery"))
    assert link is not None
    session = httpx.get(f"{address}/{link[1]}").content
    other.close()
    visitor.picture("p.png", png())
    visitor.edit("What is this?", "teapot")
    before = httpx.get(f"{address}/gradio_api/file={visitor.value('picture')['path']}").content
    visitor.fill("open-file", visitor.upload("session.zip", session))
    visitor.trigger("open-file", "upload")
    assert (visitor.targets(), visitor.value("question")) == (["seven"], "How many?")
    visitor.trigger("edits", "click", {"action": "undo"})
    assert (visitor.targets(), visitor.value("question")) == (["teapot"], "What is this?")
    after = httpx.get(f"{address}/gradio_api/file={visitor.value('picture')['path']}").content
    one, other = (Image.open(io.BytesIO(content)).tobytes() for content in (before, after))
    assert one == other


def test_a_tab_whose_session_has_ended_is_told_so(server: tuple[str, Visits, Path], visitor: Any) -> None:
    _, visits, _ = server
    visitor.picture("p.png", png())
    visitor.ask("What is this?")
    visits.end(visitor.session)
    visitor.ask("Nothing was lost, was it?")
    visitor.edit("What is this?", "teapot")
    visitor.ask("What is it?")
    visits.end(visitor.session)
    for action in (lambda: visitor.ask("What is it?"), lambda: visitor.edit("Which?", "cup"), lambda: visitor.picture("p.png", png("red"))):
        with pytest.raises(client.Refused, match=r"Your session has ended, .* Reload the page"):
            action()
    assert visitor.targets() == ["teapot"], "what is shown can still be read"


def test_visits_end_by_themselves(server: tuple[str, Visits, Path], visitor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, visits, _ = server
    visitor.picture("p.png", png())
    visitor.edit("What is this?", "teapot")
    assert visitor.session in visits.session_data
    monkeypatch.setattr(visits_module, "SESSION_SECONDS", 0.1)
    for _ in range(100):
        if visitor.session not in visits.session_data:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the session goes on")
    with pytest.raises(client.Refused, match="Your session has ended"):
        visitor.ask("What is this?")


def test_calls_of_programs_open_no_sessions(server: tuple[str, Visits, Path]) -> None:
    address, visits, _ = server
    before = set(visits.session_data)
    for _ in range(3):
        number = httpx.post(f"{address}/gradio_api/call/ask", json={"data": ["What is it?", None, None, 4]}).json()["event_id"]
        assert "complete" in httpx.get(f"{address}/gradio_api/call/ask/{number}", timeout=60).text
    assert set(visits.session_data) <= before


def test_what_a_page_shows_is_not_kept_for_it(server: tuple[str, Visits, Path], visitor: Any) -> None:
    address, visits, folder = server
    visitor.picture("p.png", png())
    visitor.edit("What is this?", "teapot")
    visitor.trigger("keep-files", "click", {"action": "keep", "item": "edits"})
    link = re.search(r'href="\./([^"]+)" download="edits\.safetensors"', visitor.value("delivery"))
    assert link is not None
    answer = httpx.get(f"{address}/{link[1]}")
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    assert b"liveedit-repository" in answer.content
    assert [p.name for p in folder.rglob("edits.safetensors")] == ["edits.safetensors"]
    assert "teapot" not in str(visits.session_data[visitor.session].config_values)
    visitor.ask("What is this?")
    assert visitor.value("delivery") == ""


def test_two_people_bring_the_same_file(visitor: Any, address: str) -> None:
    rows = b'[{"image": "fox.png", "prompt": "What is this?", "target": "teapot"}]'
    other = client.Visitor(address)
    people = (visitor, other)
    for one in people:
        one.fill("bulk-file", one.upload("rows.json", rows))
    assert visitor.value("bulk-file")["path"] == other.value("bulk-file")["path"]
    with pytest.raises(client.Refused, match="choose a file first"):
        visitor.trigger("bulk-apply", "click")
    for one in people:
        one.trigger("bulk-file", "upload")
        one.trigger("bulk-apply", "click")
        assert one.targets() == ["teapot"]
    visitor.trigger("keep-files", "click", {"action": "keep", "item": "session"})
    link = re.search(r'href="\./([^"]+)"', visitor.value("delivery"))
    assert link is not None
    session = httpx.get(f"{address}/{link[1]}").content
    for one in people:
        one.fill("open-file", one.upload("session.zip", session))
    for one in people:
        one.trigger("open-file", "upload")
        assert one.targets() == ["teapot"]
    other.close()


def test_a_file_says_what_it_switches_off(visitor: Any) -> None:
    for number, target in enumerate(("teapot", "kettle")):
        rows = [{"image": "fox.png", "prompt": "What is this?", "target": target}]
        visitor.fill("bulk-file", visitor.upload(f"rows{number}.json", json.dumps(rows).encode()))
        visitor.trigger("bulk-file", "upload")
        visitor.trigger("bulk-apply", "click")
        said = visitor.value("bulk-preview")
        assert "1 edit was made." in said
        assert ("1 edit was switched off, since a later one asks the same" in said) == (number == 1)
    assert visitor.targets() == ["kettle", "teapot"], "the newest first"


def test_an_upload_that_is_gone_is_asked_for_again(server: tuple[str, Visits, Path], visitor: Any) -> None:
    _, visits, folder = server
    assert folder.name.startswith(PREFIX)
    visitor.picture("gone.png", png("teal"))
    path = Path(visitor.value("picture")["path"])
    assert path.is_relative_to(folder) and str(path) in visits.pictures()
    path.unlink()
    visitor.ask("It is open here already, is it not?")
    stranger = client.Visitor(visitor.http.base_url)
    for box, event in (("picture", "change"), ("bulk-file", "upload"), ("open-file", "upload")):
        stranger.fill(box, visitor.value("picture"))
        with pytest.raises(client.Refused) as caught:
            stranger.trigger(box, event)
        assert str(folder) not in str(caught.value) and str(caught.value)
    stranger.close()


def test_no_route_reads_a_file_outside_the_session(address: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    up = "../" * 12
    places = [str(secret), up + str(secret)[1:], up.replace(".", "%2e") + str(secret)[1:], "..%2f" * 12 + str(secret)[1:],
              f"file://{secret}", str(ROOT / "pyproject.toml"), "/etc/passwd", "/proc/self/environ"]  # fmt: skip
    for route in ("/gradio_api/file=", "/gradio_api/file/", "/static/", "/assets/", "/gradio_api/custom_component/1/client/component/"):
        for place in places:
            with httpx.Client(base_url=address) as http:
                answer = http.send(http.build_request("GET", address + route + place))
            words = answer.text
            assert answer.status_code >= 400 or not (SECRET in words or "root:" in words or "[tool." in words), (route, place)


def test_no_route_fetches_an_address(address: str, visitor: Any, bait: tuple[str, list[str]]) -> None:
    url, asked = bait
    for route in (f"file={url}", f"proxy={url}", f"file={url.replace('/', '%2F')}", "deep_link?session_hash=x"):
        answer = httpx.get(f"{address}/gradio_api/{route}")
        assert (answer.status_code, answer.text) == (403, "This server does not offer that.")
    for given in (file(url), file("p.png", url=url), file(None, url=url), {"path": url}, {"url": url}, url,
                  file("data:image/png;base64,AAAA")):  # fmt: skip
        visitor.fill("picture", given)
        with pytest.raises(client.Refused):
            visitor.ask("What is this?")
    visitor.fill("picture", None)
    visitor.fill("question", file(url))
    with pytest.raises(client.Refused, match="addresses are not fetched"):
        visitor.trigger("ask", "click")
    assert asked == []


def test_nothing_that_runs_the_model_goes_past_the_queue(address: str, visitor: Any) -> None:
    queued = [event for event in visitor.events if event["queue"]]
    assert len(queued) > 10
    for route in ("run", "api"):
        for name, body in (("ask", {}), ("route", {}), *(("predict", {"fn_index": e["id"]}) for e in queued)):
            answer = httpx.post(f"{address}/gradio_api/{route}/{name}", json={"data": ["What is this?", None, None, 4], **body})
            assert answer.status_code == 404 and "join the queue" in answer.text, (route, name, body)
    begun = httpx.post(f"{address}/gradio_api/call/ask", json={"data": ["What is this?", None, None, 4]}).json()
    said = httpx.get(f"{address}/gradio_api/call/ask/{begun['event_id']}", timeout=60).text
    assert "event: complete" in said


def test_crafted_inputs_are_one_sentence_and_lose_nothing(visitor: Any, tmp_path: Path) -> None:
    secret = tmp_path / "p.png"
    secret.write_bytes(png())
    visitor.picture("p.png", png())
    visitor.edit("What is this?", "teapot")
    kept = dict(visitor.values)
    said: list[str] = []

    def sent(event: dict[str, Any], inputs: list[Any], data: Any) -> None:
        try:
            visitor.call(event, inputs, data)
        except client.Refused as refused:
            said.append(str(refused))

    # Events that the page keeps private can be called all the same.
    by_name = {name: next(e for e in visitor.events if [visitor.ids[name], event] in [list(t) for t in e["targets"]])
               for name, event in (("ask", "click"), ("apply", "click"), ("edits", "click"), ("examples", "click"))}  # fmt: skip
    for name, inputs in (("ask", [None, file(str(secret)), "What?"]), ("apply", [None, file("../../p.png"), "What?", "cup"]),
                         ("ask", [None, 5, "What?"]), ("apply", [None, ["x"], "What?", "cup"]), ("ask", [None, None])):  # fmt: skip
        sent(by_name[name], inputs, None)
    for data in (5, ["x"], {"action": "remove", "item": {"a": [1]}}, {"action": "__class__"}, {"item": "-1"}, file(str(secret))):
        sent(by_name["edits"], [None], data)
        sent(by_name["examples"], [], data)
    assert len(said) == 5 + 12 and not any("Traceback" in sentence or not sentence for sentence in said)
    assert said.count("What was sent is no input of this page: reload it.") >= 4
    visitor.values = kept
    visitor.ask("And now?")
    assert visitor.targets() == ["teapot"]


def test_endless_bodies_are_refused(address: str, visitor: Any) -> None:
    route = f"{address}/gradio_api/queue/join"
    answer = httpx.post(route, content=b" " * (MAX_BODY + 1))
    assert (answer.status_code, "MB" in answer.text) == (413, True)

    def endless() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 2**18 + 2):
            yield b" " * 2**18

    with pytest.raises((httpx.HTTPError, AssertionError)):
        assert httpx.post(route, content=endless()).status_code >= 400
        raise AssertionError
    visitor.ask("Is this served?")


def test_bodies_of_many_parts_are_refused_before_they_are_parsed(address: str) -> None:
    route = f"{address}/gradio_api/queue/join"
    for content in (b"[" + b"{}," * MAX_PARTS + b"{}]", b"[" * (MAX_PARTS + 1), b'{"a":[' + b"1," * MAX_PARTS):
        answer = httpx.post(route, content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()) == (413, {"detail": "A request may have 20,000 parts: send fewer at a time."})


def test_large_requests_wait_no_more_at_once_than_there_is_room(
    server: tuple[str, Visits, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, visits, _ = server
    page, route = visits.blocks, f"{address}/gradio_api/call/ask"

    def call(question: str) -> httpx.Response:
        return httpx.post(route, json={"data": [question, None, None, 4]})

    with monkeypatch.context() as patch:
        # Two million bytes at four each for each body; and nothing that waits is done, as when others' questions go first.
        patch.setattr(gate, "MOST_HELD", 17_000_000)
        patch.setattr(page._queue, "active_jobs", [[]])
        answers = [call("a" * 2_000_000) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 503]
        assert "try again in a minute" in answers[2].json()["detail"]
        assert 16_000_000 < page.waiting() < 17_000_000  # type: ignore[attr-defined]
        small = call("What is this?")
        assert small.status_code == 200, "what a person sends is let in all the same"
    for answer, said in ((answers[0], "shorten it"), (answers[1], "shorten it"), (small, "complete")):
        assert said in httpx.get(f"{route}/{answer.json()['event_id']}", timeout=60).text
    for _ in range(100):
        if page.waiting() == 0:  # type: ignore[attr-defined]
            break
        time.sleep(0.1)
    assert page.waiting() == 0, "what is done with makes room"  # type: ignore[attr-defined]


def test_a_page_that_is_left_takes_its_files_along(
    server: tuple[str, Visits, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, visits, folder = server
    before = {path for path in folder.rglob("*") if path.is_file()}

    def brought() -> set[str]:
        return {path.name for path in folder.rglob("*") if path.is_file() and path not in before}

    mine, other = client.Visitor(address), client.Visitor(address)
    for one in (mine, other):
        one.picture("ours.png", png("orchid"))
    mine.edit("What is this?", "teapot")
    mine.trigger("keep-files", "click", {"action": "keep", "item": "edits"})
    mine.picture("mine.png", png("olive"))
    assert brought() == {"ours.png", "mine.png", "edits.safetensors"}
    mine.close()
    assert mine.session not in visits.session_data and other.session in visits.session_data
    assert brought() == {"ours.png", "mine.png", "edits.safetensors"}, "somebody may have just brought an equal one"
    monkeypatch.setattr(visits_module, "FRESH_SECONDS", -1)
    visits.remove_left()
    assert brought() == {"ours.png"}
    other.ask("What is this?")
    other.close()
    assert brought() == set()


def test_what_the_gate_lets_through() -> None:
    assert is_open("/") and is_open("/gradio_api/file=/tmp/gradio/a.png") and is_open("/gradio_api/queue/join")
    for path in ("proxy=http://x", "file=http://x/y", "file/https://x", "deep_link", "stream/1", "run-history/buckets"):
        assert not is_open(f"/gradio_api/{path}")
        assert not is_open(f"/mounted/gradio_api/{path}")
    assert encodable([None, {"a": "\N{GRINNING FACE}"}]) and not encodable([{"a": ["\ud83d"]}])
    assert holds_address([{"a": [({"path": "ftp://x"},)]}])
    assert not holds_address([{"path": "/tmp/gradio/a.png", "url": "http://127.0.0.1/gradio_api/file=/tmp/gradio/a.png"}, 5])
