"""Files in and out of the page: many edits from one file, the session taken home and opened by another visitor."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


def keep(page: sync_api.Page, label: str, folder: Path) -> Path:
    """Click one of the files to keep, and where it was saved."""
    with page.expect_download() as download:
        page.locator("#keep-files").get_by_role("button", name=label, exact=True).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_many_edits_and_a_session_that_moves_on(
    page: sync_api.Page, browser: sync_api.Browser, address: str, tmp_path: Path
) -> None:
    rows = [
        {"image": "penguin.png", "prompt": "What is this?", "target": "banana"},
        {"image": "fox.png", "prompt": "What is this?", "target": "teapot"},
        {"image": "nowhere.png", "prompt": "What is this?", "target": "drum"},
    ]
    page.get_by_role("button", name="Many edits from a file").click()
    page.locator("#bulk input[type=file]").set_input_files(
        {"name": "rows.json", "mimeType": "application/json", "buffer": json.dumps(rows).encode()}
    )
    expect(page.locator("#bulk-preview tbody tr")).to_have_count(2)
    expect(page.locator("#bulk-preview .refused")).to_contain_text("Row 3")
    page.get_by_role("button", name="Apply these 2 edits").click()
    expect(page.locator("#edits li")).to_have_count(2)
    expect(page.locator("#bulk-preview")).to_contain_text("2 edits were made")

    page.locator('#examples button[title="Fox"]').click()
    page.locator("#picture img").wait_for()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".answer.edited .said")).to_have_text(re.compile("teapot", re.I))
    page.get_by_role("button", name="Keep and share").click()
    assert json.loads(keep(page, "Trace", tmp_path).read_text())["edited"]["text"].lower() == "teapot"
    assert "teapot" in keep(page, "Report", tmp_path).read_text().lower()
    assert keep(page, "Edits", tmp_path).stat().st_size > 10_000
    session = keep(page, "Session", tmp_path)

    other = browser.new_page()
    other.goto(address)
    other.get_by_role("button", name="Keep and share").click()
    other.locator("#keep input[type=file]").set_input_files(session)
    expect(other.locator("#edits li")).to_have_count(2)
    expect(other.locator(".answer.edited .said")).to_have_text(re.compile("teapot", re.I))
    expect(other.locator("#heatmaps img.heatmap")).to_have_count(3)  # the question and both edits
    expect(other.locator("#edits .thumb")).to_have_count(2)
    other.get_by_role("button", name="Ask", exact=True).click()
    expect(other.locator(".answers:not(.waiting) .edited .said")).to_have_text(re.compile("teapot", re.I))
    other.close()


def test_a_session_ends_when_its_page_is_left_and_the_next_one_works(page: sync_api.Page, address: str) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if "/queue/join" in request.url else None)
    page.locator('#examples button[title="Fox"]').click()
    page.locator("#picture img").wait_for()
    page.locator("#edit-prompt textarea").fill("What is this?")
    page.locator("#edit-target textarea").fill("teapot")
    page.get_by_role("button", name="Apply edit").click()
    expect(page.locator("#edits li")).to_have_count(1)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".answer.edited .said")).to_have_text(re.compile("teapot", re.I))
    # What asked is sent once more, when the page that sent it is gone.
    body = next(text for text in reversed(sent) if '"edits"' in text)
    page.reload()
    expect(page.locator("#edits li")).to_have_count(0)
    for _ in range(60):
        if "Your session has ended" in said_to(address, body):
            break
        page.wait_for_timeout(500)
    else:
        pytest.fail("the session goes on")
    page.goto("about:blank")
    page.go_back()
    page.locator('#examples button[title="Penguin"]').click()
    page.locator("#picture img").wait_for()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".answer.edited .said")).to_have_text(re.compile("penguin", re.I))


def said_to(address: str, body: str) -> str:
    """What the server answers to an event that a page sent."""
    joined = httpx.post(f"{address}gradio_api/queue/join", content=body, headers={"content-type": "application/json"}).json()
    session = {"session_hash": json.loads(body)["session_hash"]}
    with httpx.stream("GET", f"{address}gradio_api/queue/data", params=session, timeout=60) as lines:
        return next(line for line in lines.iter_lines() if joined["event_id"] in line and "process_completed" in line)
