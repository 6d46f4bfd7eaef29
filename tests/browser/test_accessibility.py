"""The page for everyone: no serious violation of axe-core's rules, all by keyboard, nothing lost while others compute.

axe-core (Deque Systems, MPL-2.0) lies beside this file with its licence; nothing is fetched.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
ROWS = b"image,prompt,target\npizza.png,What is this?,drum\nnowhere.png,What is this?,lamp\n"
# Gradio makes the head of a message a button and lays the one that closes it inside; nothing of ours can part them.
GRADIO = ("nested-interactive", [".toast-header"])
AXE = (Path(__file__).parent / "assets" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: sync_api.Page) -> list[str]:
    """Each serious or critical violation with the elements that have it, but for Gradio's own."""
    page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{v['id']}: {node['target']} {node['failureSummary']}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
        if (v["id"], node["target"]) != GRADIO
    ]


def edit(page: sync_api.Page, title: str, target: str) -> None:
    """Make an edit of an example and wait for its row in the ledger and for its probe, the last thing that follows it."""
    page.locator(f'#examples button[title="{title}"]').click()
    page.locator("#picture img").wait_for()
    page.get_by_label("It shall answer").fill(target)
    page.get_by_role("button", name="Apply edit").click()
    expect(page.locator("#ledger tbody tr", has_text=target)).to_have_count(1)
    expect(page.locator("#probe .probe li")).to_have_count(5)
    expect(page.locator("#probe .probe li").first).to_contain_text("of 1")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (1280, "dark"), (390, "light")])
def test_axe_finds_nothing_serious(page: sync_api.Page, width: int, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    page.reload()
    page.locator("#examples button").first.wait_for()
    assert violations(page) == []
    edit(page, "Penguin", "banana")
    edit(page, "Fox", "teapot")
    page.locator("#ledger button.name").last.click()
    expect(page.locator("#ledger .card img")).to_have_count(2)
    page.locator("#map-box button").first.click()
    expect(page.locator("#map svg.plot")).to_have_count(2)
    page.locator("#what-if-box button").first.click()
    page.get_by_role("button", name="Leave out in a what-if").click()
    expect(page.locator(".what-if-on")).to_contain_text("without Edit")
    # Editors that train at every edit would keep this test waiting.
    for box in page.locator("#editors label").all():
        box.locator("input").set_checked(box.inner_text() in ("LiveEdit", "unedited"))
    page.get_by_role("button", name="Compare on my edits").click()
    expect(page.locator("#trial table").first).to_contain_text("unedited")
    page.locator("#measured-box button").first.click()
    expect(page.locator("#measured svg.plot").first).to_be_visible()
    page.get_by_role("button", name="Many edits from a file").click()
    page.locator("#bulk input[type=file]").set_input_files({"name": "rows.csv", "mimeType": "text/csv", "buffer": ROWS})
    expect(page.locator("#bulk-preview .refused")).to_contain_text("Row 2")
    expect(page.locator("#bulk-preview tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Keep and share").click()
    expect(page.locator("#keep-files")).to_be_visible()
    page.locator("#tour button").nth(1).click()
    expect(page.locator("#tour")).to_contain_text("The same picture, asked in other words.")
    expect(page.locator("#heatmaps img.heatmap:not(.asked)").first).to_have_attribute("alt", re.compile("Edit 1"))
    page.locator("#heatmaps img.heatmap").first.wait_for()
    page.get_by_role("button", name="Draw the instance analysis").click()
    page.locator("#instance-figure img").wait_for()
    with page.expect_download():
        page.locator("#keep-files").get_by_role("button", name="Trace", exact=True).click()
    expect(page.locator("#delivery a")).to_be_visible()
    page.get_by_label("Question", exact=True).fill("")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".toast-body")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    expect(page.locator("#instance-figure table")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_ledger_works_by_keyboard_alone(page: sync_api.Page) -> None:
    edit(page, "Penguin", "banana")
    edit(page, "Fox", "teapot")
    names = page.locator("#ledger button.name")
    expect(names).to_have_text(["Edit 2", "Edit 1"])
    head = page.locator('#ledger th.name button')
    head.focus()
    page.keyboard.press("Enter")
    expect(names).to_have_text(["Edit 1", "Edit 2"])
    # The ledger was drawn anew, and the focus is where it was.
    expect(head).to_be_focused()
    assert head.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Space")
    expect(names).to_have_text(["Edit 2", "Edit 1"])

    names.last.focus()
    page.keyboard.press("Enter")
    expect(names.last).to_have_attribute("aria-expanded", "true")
    card = page.locator("#ledger .card")
    expect(card).to_contain_text("Edit 1 stopped at hard routing")
    expect(card.locator("img")).to_have_count(2)

    leave_out = page.get_by_role("button", name="Leave out in a what-if")
    leave_out.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".what-if-on")).to_contain_text("What if: without Edit 1.")
    page.get_by_role("button", name="Back to the real settings").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".what-if-on")).to_have_count(0)


def test_a_filter_typed_while_the_model_computes_stays(page: sync_api.Page) -> None:
    edit(page, "Penguin", "banana")
    page.locator('#examples button[title="Fox"]').click()
    page.locator("#picture img").wait_for()
    page.get_by_label("It shall answer").fill("teapot")
    page.get_by_role("button", name="Apply edit").click()
    page.get_by_label("Filter the edits").fill("banana")
    expect(page.locator("#edits li")).to_have_count(2)
    expect(page.locator("#heatmaps img.heatmap:not(.asked)").first).to_have_attribute("alt", re.compile("Edit 2"))
    expect(page.locator("#ledger tbody tr")).to_have_count(1)
    expect(page.locator("#ledger tbody tr")).to_contain_text("banana")


def test_a_what_if_is_routed_at_once_and_answered_on_request(page: sync_api.Page) -> None:
    edit(page, "Penguin", "banana")
    said = page.locator(".answer.edited .said").inner_text()
    assert said.lower() == "banana"
    page.locator("#what-if-box button").first.click()
    page.wait_for_timeout(1000)  # What was just unfolded takes its value a moment after it is seen; nobody types so soon.
    page.locator("#margin-shift input[type=number]").fill("-20")
    page.keyboard.press("Enter")
    expect(page.locator(".what-if-on")).to_contain_text("What if: margin −20.00. 0 of 1 edits would pass; really 1 did.")
    expect(page.locator("#ledger tbody tr")).to_have_class("stopped")
    page.get_by_role("button", name="Answer with these settings").click()
    expect(page.locator(".what-if-on")).to_contain_text("The model would answer “penguin”; really it says “banana”.")
    # The real answer is untouched, and a new question is a real one.
    assert page.locator(".answer.edited .said").inner_text() == said
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".what-if-on")).to_have_count(0)
    expect(page.locator("#margin-shift input[type=number]")).to_have_value("0")
    expect(page.locator("#ledger tbody tr")).to_have_class("passed")
