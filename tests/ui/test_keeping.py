"""What a person takes home, and what comes of bringing it back."""

from __future__ import annotations

import errno
import json
import re
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL.Image import Image, effect_noise

from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository, Limits
from liveedit.pictures import read_picture
from liveedit.types import InputError, LiveEditError
from liveedit.ui import keeping
from liveedit.ui import session as actions
from liveedit.ui.ask_panel import answers_html
from liveedit.ui.edits_panel import edits_html
from liveedit.ui.history_panel import history_html
from liveedit.ui.keep_panel import link_html, written
from liveedit.ui.keeping import TABLE, edits_file, restore, session_file, trace_file
from liveedit.ui.report import report_file
from liveedit.ui.session import Session


def filed(path: Path, make: Callable[[Session, Path], None], session: Session) -> Path:
    make(session, path)
    return path


def test_a_session_comes_back_as_it_was(open_editor: LiveEdit, busy_session: Session, tmp_path: Path) -> None:
    off = actions.switch(open_editor, busy_session, busy_session.repository.experts[2].id)
    path = filed(tmp_path / "session.zip", session_file, off)
    back = restore(open_editor, Session(open_editor.empty()), path)
    assert back.names == off.names and back.made == off.made
    assert [(e.id, e.active) for e in back.repository] == [(e.id, e.active) for e in off.repository]
    assert all(uri.startswith("data:image/") for uri in back.thumbnails.values())
    assert back.picture is not None and off.picture is not None
    assert back.picture.tobytes() == off.picture.tobytes()
    assert history_html(back) == history_html(off)
    # The question that is shown was asked before the switch, and says so.
    assert back.asked is not None and back.outdated
    again = actions.again(open_editor, back.copy())
    assert again.asked is not None and off.asked is not None
    assert again.asked.edited.text == off.asked.edited.text
    assert again.asked.comparison.edited.probabilities == pytest.approx(off.asked.comparison.edited.probabilities, abs=1e-5)
    # Taking it back brings the empty session's edits.
    assert len(actions.undo(open_editor, back).repository) == 0


def test_an_unchanged_session_shows_its_answer(open_editor: LiveEdit, busy_session: Session, tmp_path: Path) -> None:
    path = filed(tmp_path / "session.zip", session_file, actions.remembering(busy_session))
    back = restore(open_editor, Session(open_editor.empty()), path)
    assert not back.outdated
    assert answers_html(back) == answers_html(busy_session)


def test_edits_are_added_to_those_there_are(open_editor: LiveEdit, busy_session: Session, tmp_path: Path) -> None:
    path = filed(tmp_path / "edits.safetensors", edits_file, busy_session)
    assert len(ExpertRepository.load(path, open_editor.config)) == 6
    fewer = actions.remove(open_editor, busy_session, busy_session.repository.experts[0].id)
    back = restore(open_editor, fewer, path)
    assert len(back.repository) == 6
    assert "Undo: 1 edit read from a file" in edits_html(back)
    assert len(set(back.names.values())) == 6
    with pytest.raises(InputError, match="no edit that is not here"):
        restore(open_editor, back, path)


def test_undoing_that_a_session_was_opened_brings_the_other_one_back(
    open_editor: LiveEdit, busy_session: Session, pictures: list[Image], tmp_path: Path
) -> None:
    path = tmp_path / "session.zip"
    session_file(actions.remembering(busy_session), path)
    mine = actions.apply_edit(open_editor, replace(Session(open_editor.empty()), picture=pictures[1]), "How many?", "nine")
    opened = restore(open_editor, mine, path)
    assert opened.picture is not None and len(opened.repository) == 6
    undone = actions.undo(open_editor, opened)
    assert undone.picture is mine.picture
    assert undone.history == mine.history
    assert undone.asked is not None and undone.asked.query.prompt == "How many?"
    assert undone.asked.edited.text == mine.asked.edited.text if mine.asked else False
    assert list(undone.names.values()) == ["Edit 1"]
    added = actions.apply_edit(open_editor, undone, "What is it?", "pear")
    assert len(set(added.names.values())) == 2
    again = actions.undo(open_editor, undone)
    assert again.names == opened.names and again.history == opened.history
    assert again.picture is opened.picture
    more = actions.apply_edit(open_editor, again, "What is it?", "pear")
    assert len(set(more.names.values())) == 7


@pytest.mark.parametrize("change", ["no list", "nan", "probability", "picture", "lengths", "names", "deep", "passed", "ids"])
def test_damaged_sessions_are_refused(open_editor: LiveEdit, busy_session: Session, tmp_path: Path, change: str) -> None:
    whole = filed(tmp_path / "whole.zip", session_file, actions.remembering(busy_session))
    with zipfile.ZipFile(whole) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    table = json.loads(files[TABLE])
    first = table["history"][0]
    if change == "no list":
        table["history"] = 7
    elif change == "nan":
        first["trace"]["experts"][0]["margin"] = float("nan")
    elif change == "probability":
        first["base"]["probabilities"][0] = 7
    elif change == "picture":
        files["history/0.png"] = b"no picture"
    elif change == "lengths":
        first["edited"]["pieces"].append("more")
    elif change == "passed":
        first["passed"] = 7
    elif change == "ids":
        first["ids"] = [6]
    elif change == "names":
        table["names"] = {}
    files[TABLE] = b"[" * 100_000 if change == "deep" else json.dumps(table).encode()
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(LiveEditError, match=r"damaged|not a readable picture"):
        restore(open_editor, busy_session, path)


def test_other_files_are_refused(open_editor: LiveEdit, busy_session: Session, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("rows.json", "[]")
    (tmp_path / "text.safetensors").write_bytes(b"hello")
    for path in (tmp_path / "other.zip", tmp_path / "text.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(LiveEditError) as caught:
            restore(open_editor, busy_session, path)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kind", ["edits", "session"])
@pytest.mark.parametrize(("part", "text"), [("prompt", "<image> what?"), ("prompt", "what " * 500), ("target", " ")])
def test_texts_that_could_not_be_typed_are_refused(
    open_editor: LiveEdit, busy_session: Session, tmp_path: Path, kind: str, part: str, text: str
) -> None:
    edits = busy_session.repository.experts
    edits[0] = replace(edits[0], edit=replace(edits[0].edit, **{part: text}))
    path = filed(tmp_path / f"{kind}.file", session_file if kind == "session" else edits_file, busy_session)
    with pytest.raises(LiveEditError, match=r"marker|shorten|empty"):
        restore(open_editor, Session(open_editor.empty()), path)


@pytest.mark.parametrize("kind", ["edits", "session"])
def test_edits_made_by_another_training_of_the_editor_are_refused(
    open_editor: LiveEdit, busy_session: Session, tmp_path: Path, kind: str
) -> None:
    other = LiveEdit(open_editor.backbone, open_editor.config).empty()
    busy_session.repository.made_by = other.made_by
    path = filed(tmp_path / f"{kind}.file", session_file if kind == "session" else edits_file, busy_session)
    with pytest.raises(LiveEditError, match="another training"):
        restore(open_editor, Session(open_editor.empty()), path)


def test_a_session_with_a_question_that_could_not_be_typed_is_refused(
    open_editor: LiveEdit, busy_session: Session, tmp_path: Path
) -> None:
    whole = filed(tmp_path / "whole.zip", session_file, actions.remembering(busy_session))
    with zipfile.ZipFile(whole) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    table = json.loads(files[TABLE])
    table["history"][0]["prompt"] = "what " * 700
    files[TABLE] = json.dumps(table).encode()
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match="shorten"):
        restore(open_editor, busy_session, tmp_path / "long.zip")


def test_the_trace_is_json(busy_session: Session) -> None:
    value = json.loads(trace_file(busy_session))
    assert busy_session.asked is not None
    assert value["edited"]["text"] == busy_session.asked.edited.text
    assert value["trace"] == json.loads(json.dumps(busy_session.asked.trace.to_json()))
    assert [e["name"] for e in value["edits"]] == [f"Edit {n}" for n in range(1, 7)]


class _Links(HTMLParser):
    """Collects what a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in ("script", "link", "iframe", "b") else []
        self.found += [v or "" for k, v in attrs if k in ("src", "href") or k.startswith("on")]


def test_a_report_needs_nothing_else(open_editor: LiveEdit, busy_session: Session) -> None:
    *_, session = actions.ask(open_editor, busy_session, "<b>What</b> is it?</title><script>alert(1)</script>")
    assert isinstance(session, Session)
    text = report_file(session, "<script>").decode()
    links = _Links()
    links.feed(text)
    assert len(links.found) == 7
    assert all(link.startswith("data:image/") for link in links.found)
    assert "&lt;b&gt;What" in text
    assert len(re.findall(r"Edit \d: ", text)) == 6


def test_without_an_answer_there_is_nothing_to_report(open_editor: LiveEdit) -> None:
    empty = Session(open_editor.empty())
    for make in (trace_file, lambda s: report_file(s, "")):
        with pytest.raises(InputError, match="ask a question first"):
            make(empty)


def test_a_link_leads_to_the_file_below_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "a folder"))
    path = written("liveedit-trace.json", lambda path: path.write_bytes(b"{}" * 1000))
    other = written("liveedit-trace.json", lambda path: path.write_bytes(b"{}"))
    assert path != other, "nobody is handed what another one was handed"
    html = link_html(path)
    assert f'href="./gradio_api/file={quote(str(path))}"' in html and "%20" in html
    assert 'download="liveedit-trace.json"' in html and "2 kB" in html


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), InputError("ask a question first")])
def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    with pytest.raises(InputError, match=r"try again later|ask a question"):
        written("edits.safetensors", fail)
    assert list(tmp_path.iterdir()) == []


def with_table(source: Path, target: Path, content: bytes, more: dict[str, bytes] | None = None) -> Path:
    """A session's file with another table, and with other files."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**files, TABLE: content, **(more or {})}.items():
            archive.writestr(name, data)
    return target


def test_an_endless_table_is_refused_before_it_is_parsed(open_editor: LiveEdit, busy_session: Session, tmp_path: Path) -> None:
    whole = filed(tmp_path / "whole.zip", session_file, busy_session)
    path = with_table(whole, tmp_path / "long.zip", b"[" + b"{}," * 20_000_000 + b"{}]")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"unpacks to too much at session\.json: it may have 4 MB"):
        restore(open_editor, busy_session, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def test_edits_are_unpacked_beside_the_upload_and_leave_nothing(
    open_editor: LiveEdit, busy_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filed(tmp_path / "session.zip", session_file, busy_session)
    # Nothing could be written where the system keeps what is temporary.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert len(restore(open_editor, Session(open_editor.empty()), path).repository) == 6
    assert list(tmp_path.iterdir()) == [path]


def test_a_session_with_more_edits_than_an_entry_may_have_comes_back(
    open_editor: LiveEdit, busy_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = [replace(e, edit=replace(e.edit, image=effect_noise((200, 200), 90 + n))) for n, e in enumerate(busy_session.repository)]
    busy_session.repository.experts[:] = noise
    path = filed(tmp_path / "session.zip", session_file, busy_session)
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    assert sizes.pop(keeping.EDITS) > 200_000 > max(sizes.values())
    monkeypatch.setattr("liveedit.data.archive.MAX_ENTRY", 200_000)
    assert len(restore(open_editor, Session(open_editor.empty()), path).repository) == 6


def test_a_session_that_could_not_be_opened_is_not_handed_out(
    open_editor: LiveEdit, busy_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filed(tmp_path / "session.zip", session_file, busy_session)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(keeping, "MOST_FILE", 0)
    with pytest.raises(InputError, match="a file of 0 MB can be opened here: keep the edits alone"):
        written("liveedit-session.zip", lambda path: session_file(busy_session, path))
    with pytest.raises(InputError, match=r"unpacks to too much at edits\.safetensors"):
        restore(open_editor, Session(open_editor.empty()), path)
    assert list(tmp_path.iterdir()) == [path]


def test_questions_about_one_picture_share_it(
    open_editor: LiveEdit, busy_session: Session, pictures: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = actions.remembering(busy_session)
    for prompt in ("What is left of it?", "How many are there?"):
        *_, session = actions.ask(open_editor, session, prompt)
    *_, session = actions.ask(open_editor, actions.show(session, pictures[3]), "What is it?")
    path = filed(tmp_path / "session.zip", session_file, session)
    opened: list[str] = []
    monkeypatch.setattr(keeping, "read_picture", lambda data, name: opened.append(name) or read_picture(data, name))
    back = restore(open_editor, Session(open_editor.empty()), path)
    assert opened == ["history/0.png", "history/1.png", "picture.png"]
    assert history_html(back) == history_html(session)
    assert len({id(p.picture) for p in back.history}) == 2 and len(back.history) == 4
    monkeypatch.setattr(keeping, "MOST_BYTES", 10)
    assert len(restore(open_editor, Session(open_editor.empty()), path).history) == 1, "what is newest is kept"


def test_a_file_of_edits_has_the_room_there_is(open_editor: LiveEdit, busy_session: Session, tmp_path: Path) -> None:
    path = filed(tmp_path / "edits.safetensors", edits_file, busy_session)
    pixels = sum(e.edit.image.width * e.edit.image.height for e in busy_session.repository)
    small = restore(open_editor, Session(open_editor.empty()), path, Limits(pixels=pixels // 2))
    assert sum(e.edit.image.width * e.edit.image.height for e in small.repository) <= pixels // 2
    for kind, make in (("safetensors", edits_file), ("zip", session_file)):
        path = filed(tmp_path / f"file.{kind}", make, busy_session)
        with pytest.raises(LiveEditError, match="keep fewer edits in one file") as caught:
            restore(open_editor, Session(open_editor.empty()), path, Limits(tensors=100))
        assert str(tmp_path) not in str(caught.value)
