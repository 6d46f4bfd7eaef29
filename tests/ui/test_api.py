"""The page's API as a program meets it: edits come with the call, and nothing else is let in."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from PIL.Image import Image

from liveedit.editors import LiveEdit
from liveedit.experts import ExpertRepository
from liveedit.types import Edit, InputError, Query, RepositoryError
from liveedit.ui.api import MAX_EDITS, given_edits, opened
from liveedit.ui.page import build_page, launch

QUESTION = "What is it?"


def data_url(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def client(open_editor: LiveEdit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A program connected to the served page."""
    page = build_page(open_editor)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, show_error=True, ssr_mode=False, allowed_paths=[])
    yield Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("client")))
    page.close()


@pytest.fixture
def files(pictures: list[Image], tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        pictures[number].save(paths[-1])
    return paths


def test_a_question_under_edits_that_come_with_it(
    client: Client, open_editor: LiveEdit, pictures: list[Image], files: list[Path]
) -> None:
    edits = [
        {"picture": handle_file(files[0]), "prompt": QUESTION, "answer": "teapot"},
        {"picture": data_url(pictures[1]), "prompt": "How many?", "answer": "seven"},
    ]
    found = client.predict(QUESTION, handle_file(files[0]), edits, 6, api_name="/ask")
    repository = ExpertRepository.empty(open_editor.config)
    open_editor.edit(repository, [Edit(pictures[0], QUESTION, "teapot"), Edit(pictures[1], "How many?", "seven")])
    wanted = open_editor.answer(repository, Query(pictures[0], QUESTION), max_new_tokens=6)
    assert found["answer"] == wanted.text
    assert found["base"] == open_editor.answer(None, Query(pictures[0], QUESTION), max_new_tokens=6).text
    assert found["base"] != found["answer"]
    assert [e["answer"] for e in found["edits"]] == ["teapot", "seven"]
    weights = [row["weight"] for row in found["trace"]["experts"]]
    assert weights == pytest.approx([row.weight for row in wanted.trace.experts], abs=1e-4)


def test_a_call_leaves_nothing_behind(client: Client, files: list[Path]) -> None:
    edits = [{"picture": handle_file(files[0]), "prompt": QUESTION, "answer": "teapot"}]
    client.predict(QUESTION, handle_file(files[0]), edits, 4, api_name="/ask")
    plain = client.predict(QUESTION, handle_file(files[0]), None, 4, api_name="/ask")
    assert plain["edits"] == []
    assert plain["answer"] == plain["base"]


def test_routing_under_a_file_of_edits(
    client: Client, open_editor: LiveEdit, open_repository: ExpertRepository, files: list[Path], tmp_path: Path,
    pictures: list[Image],
) -> None:  # fmt: skip
    open_repository.save(tmp_path / "edits.safetensors")
    found = client.predict(
        QUESTION, handle_file(files[2]), handle_file(tmp_path / "edits.safetensors"), api_name="/route"
    )
    wanted = open_editor.route(open_repository, [Query(pictures[2], QUESTION)])[0]
    assert [e["expert_id"] for e in found["edits"]] == [e.id for e in open_repository]
    assert [row["passed"] for row in found["trace"]["experts"]] == [row.passed for row in wanted.experts]
    assert "answer" not in found


def test_both_endpoints_and_no_others_are_documented(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/ask", "/route"}
    parameters = [p["parameter_name"] for p in named["/ask"]["parameters"]]
    assert parameters == ["question", "picture", "edits", "max_new_tokens"]
    assert "Ask a vision-language model" in named["/ask"]["description"]


@pytest.mark.parametrize(
    ("picture", "edits", "said"),
    [
        ("http://127.0.0.1:1/secret.png", None, "not fetched"),
        ("/etc/passwd", None, "not fetched"),
        ("data:image/svg+xml;base64,PHN2Zy8+", None, "not fetched"),
        ("data:image/png;base64,%%%", None, "base64"),
        ("data:image/png;base64,aGVsbG8=", None, "not a readable picture"),
        ({"path": "/etc/passwd"}, None, "did not arrive as an upload"),
        (None, [{"picture": "x", "prompt": "y"}], "dit 1 has to have"),
        (None, "edits", "are no list"),
        (None, [{}] * (MAX_EDITS + 1), "the limit of a call"),
    ],
)  # fmt: skip
def test_what_is_no_upload_is_refused_with_a_sentence(client: Client, picture: Any, edits: Any, said: str) -> None:
    with pytest.raises(Exception, match=said):
        client.predict(QUESTION, picture, edits, 4, api_name="/ask")


def test_a_refusal_is_told_to_a_program_as_it_is_written(client: Client) -> None:
    with pytest.raises(Exception, match="are no list") as caught:
        client.predict(QUESTION, None, "edits", 4, api_name="/ask")
    assert str(caught.value) == 'The edits are no list: give [{"picture": ..., "prompt": ..., "answer": ...}].'


@pytest.mark.parametrize(
    ("path", "why"), [("http://127.0.0.1:1/a.png", "addresses are not fetched"), ("/etc/passwd", "no input of this page")]
)
def test_a_claimed_upload_is_neither_fetched_nor_read(client: Client, path: str, why: str) -> None:
    """Past the client's own checks: what a hand-made request claims to have uploaded."""
    claimed = {"path": path, "meta": {"_type": "gradio.FileData"}}
    url = f"{client.src}gradio_api/call/ask"
    begun = httpx.post(url, json={"data": [QUESTION, claimed, None, 4]})
    said = httpx.get(f"{url}/{begun.json()['event_id']}", timeout=30).text
    assert "event: error" in said
    assert why in said


def test_a_file_of_another_editor_is_refused_without_its_place(open_editor: LiveEdit) -> None:
    path = Path(get_upload_folder()) / "api-test" / "edits.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no edits")
    with pytest.raises(RepositoryError, match=r"^edits\.safetensors is not a readable file") as caught:
        given_edits(open_editor, {"path": str(path), "meta": {"_type": "gradio.FileData"}})
    assert str(path.parent) not in str(caught.value)


def test_a_huge_data_url_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InputError, match="6 million characters"):
        opened("data:image/png;base64," + "A" * 6_000_001)


def test_mcp_without_its_package_is_refused(open_editor: LiveEdit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveedit.ui.page.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"gradio\[mcp\]=={gr.__version__}"):
        launch(open_editor, mcp=True)
