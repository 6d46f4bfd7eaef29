"""The API as an MCP server, spoken to by the protocol's own client."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from liveedit import LiveEdit

mcp = pytest.importorskip("mcp", reason="the package mcp is not installed")
streamable_http = pytest.importorskip("mcp.client.streamable_http")


@pytest.fixture(scope="module")
def address(
    open_editor: LiveEdit, serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The page of a tiny editor, served with ``--mcp`` until the tests end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        yield serve(open_editor, mcp=True) + "/gradio_api/mcp/"


def called(address: str, *calls: tuple[str, dict[str, Any]]) -> tuple[dict[str, Any], list[Any]]:
    """The server's tools by name, and what each call gave."""

    async def talk() -> tuple[dict[str, Any], list[Any]]:
        async with (
            streamable_http.streamablehttp_client(address) as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            return {tool.name: tool for tool in tools}, [await session.call_tool(*call) for call in calls]

    # In a thread of its own: where a browser is being driven, this one has a loop already.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(talk())).result()


def test_a_language_model_finds_the_tools_asks_with_edits_and_is_told_what_is_wrong(address: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, "PNG")
    picture = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    asked = {"question": "what is this", "picture": picture, "max_new_tokens": 3}
    edits = [{"picture": picture, "prompt": "what is this", "answer": "a dog"}]
    tools, (plain, edited, routed, empty, marked) = called(
        address,
        ("ask", asked),
        ("ask", {**asked, "edits": edits}),
        ("route", {"question": "what is this", "picture": picture, "edits": edits}),
        ("ask", {**asked, "question": ""}),
        ("ask", {**asked, "question": "what is <image>"}),
    )
    assert set(tools) == {"ask", "route"}
    assert "corrections" in tools["ask"].description
    assert tools["ask"].inputSchema["required"] == ["question"]
    assert not plain.isError and "There are no edits" in plain.content[0].text
    assert not edited.isError and "'prompt_similarity'" in edited.content[0].text
    assert not routed.isError and "'base'" not in routed.content[0].text
    assert empty.isError and empty.content[0].text == "The question is empty: type a question."
    assert marked.isError and "<image>" in marked.content[0].text
