"""The page in a real browser, over the shipped models: ask, edit, ask again, see why, switch off; and bad input."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


def choose(page: sync_api.Page, title: str) -> None:
    """Click an example and wait for its picture."""
    page.locator(f'#examples button[title="{title}"]').click()
    page.locator("#picture img").wait_for()


def said(page: sync_api.Page, which: str) -> str:
    """The answer shown on one of the two cards."""
    return page.locator(f".answer.{which} .said").inner_text()


def refused(page: sync_api.Page, words: str) -> None:
    """Exactly one sentence with these words is shown; it is then closed."""
    toast = page.locator(".toast-body")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text(words)
    assert not re.search(r"null|Traceback|Exception", toast.inner_text())
    page.locator(".toast-close").click()
    expect(toast).to_have_count(0)


def test_a_person_edits_and_sees_why(page: sync_api.Page) -> None:
    choose(page, "Penguin")
    page.get_by_label("Question", exact=True).fill("What is this?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".answers:not(.waiting)").wait_for()
    base = said(page, "base")
    assert base == said(page, "edited")
    assert base.lower() != "banana"
    expect(page.locator("#why")).to_contain_text("no edits")
    expect(page.get_by_label("When asked")).to_have_value("What is this?")

    page.get_by_label("It shall answer").fill("banana")
    page.get_by_role("button", name="Apply edit").click()
    expect(page.locator("#check")).to_contain_text("The edit took: the model now answers “banana”.")
    expect(page.locator("#edits li")).to_have_count(1)

    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#check .check")).to_have_count(0)
    assert said(page, "base") == base
    assert said(page, "edited").lower() == "banana"
    row = page.locator("#ledger tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_have_class("passed")
    expect(row.locator("td.passed")).to_contain_text("yes")
    expect(page.locator("#weights li")).to_contain_text("Edit 1")
    # The question's own heatmap and the edit's.
    expect(page.locator("#heatmaps img.heatmap")).to_have_count(2)
    assert page.locator("#heatmaps img.heatmap").last.evaluate("image => image.naturalWidth") > 100

    switch = page.get_by_role("switch")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    # Its knob is white: without a track it could not be seen.
    expect(switch).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
    expect(page.locator(".answer.edited .said")).to_have_text(base)
    expect(row).to_have_class("off")
    expect(page.locator("#heatmaps img.heatmap")).to_have_count(1)
    switch.click()
    expect(page.locator(".answer.edited .said")).to_have_text(re.compile("banana", re.I))

    page.get_by_role("button", name="Remove Edit 1").click()
    expect(page.locator("#edits .empty")).to_be_visible()
    expect(page.locator(".answer.edited .said")).to_have_text(base)
    page.get_by_role("button", name="Undo: Edit 1 removed").click()
    expect(page.locator("#edits li")).to_have_count(1)
    expect(page.locator(".answer.edited .said")).to_have_text(re.compile("banana", re.I))


def test_the_model_s_looks_are_explained_and_drawn(page: sync_api.Page) -> None:
    choose(page, "Cat and umbrella")
    page.get_by_label("When asked").fill("What is on the left?")
    page.get_by_label("It shall answer").fill("snow leopard")
    page.get_by_role("button", name="Apply edit").click()
    maps = page.locator("#heatmaps img.heatmap")
    expect(maps).to_have_count(2)
    page.get_by_label("Edited answer", exact=True).click()
    expect(page.locator("#heatmaps")).to_contain_text("Choose one of: Occlusion, Ablation, Learned mask")
    page.get_by_label("Routing margin").click()
    expect(page.locator("#heatmaps img.corner")).to_have_count(1)
    expect(maps).to_have_count(1)
    expect(page.locator("#heatmaps .made")).to_contain_text("Noise on tokens, routing margin, 1 forward pass")
    page.get_by_role("button", name="Draw the instance analysis").click()
    expect(page.locator("#instance-figure img")).to_have_attribute("alt", re.compile("Edit 1: margin"))
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save as PDF").click()
    assert Path(saved.value.path()).read_bytes().startswith(b"%PDF")


def test_tokens_have_probabilities_and_questions_are_reopened(page: sync_api.Page) -> None:
    choose(page, "Penguin")
    page.get_by_label("It shall answer").fill("banana")
    page.get_by_role("button", name="Apply edit").click()
    expect(page.locator("#check .check")).to_be_visible()
    expect(page.locator("#probe .probe li")).to_have_count(5)
    expect(page.locator("#probe .probe li").first).to_contain_text("1 of 1")
    token = page.locator(".answer.edited .token").last
    expect(token).to_have_class(re.compile("changed"))
    before, after = re.findall(r"([\d.]+)\s%", token.get_attribute("data-tip"))
    assert float(before) < 50 < float(after)
    token.focus()
    assert token.evaluate("t => getComputedStyle(t, '::after').content") == f'"{token.get_attribute("data-tip")}"'

    choose(page, "Fox")
    expect(page.locator(".answer.edited .said")).to_have_text("–")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#history summary")).to_contain_text("2")
    page.locator("#history summary").click()
    page.locator("#history button").last.click()
    expect(page.locator(".answer.edited .said")).to_have_text(re.compile("banana", re.I))
    expect(page.locator("#heatmaps img.heatmap")).to_have_count(2)
    expect(page.locator(".answer.edited .said")).to_have_text(re.compile("banana", re.I))
    expect(page.get_by_label("Question", exact=True)).to_have_value("What is this?")


def test_another_visitor_sees_nothing_of_it(page: sync_api.Page, browser: sync_api.Browser, address: str) -> None:
    choose(page, "Fox")
    page.get_by_label("It shall answer").fill("teapot")
    page.get_by_role("button", name="Apply edit").click()
    expect(page.locator("#edits li")).to_have_count(1)
    other = browser.new_page()
    other.goto(address)
    other.locator('#examples button[title="Fox"]').click()
    other.locator("#picture img").wait_for()
    other.get_by_role("button", name="Ask", exact=True).click()
    other.locator(".answers:not(.waiting)").wait_for()
    assert said(other, "base") == said(other, "edited")
    expect(other.locator("#edits li")).to_have_count(0)
    other.close()


def test_bad_input_is_one_sentence_and_loses_nothing(page: sync_api.Page, tmp_path: Path) -> None:
    ask, apply = page.get_by_role("button", name="Ask", exact=True), page.get_by_role("button", name="Apply edit")
    page.get_by_label("Question", exact=True).fill("")
    ask.click()
    refused(page, "The question is empty")
    page.get_by_label("When asked").fill("What is this?")
    page.get_by_label("It shall answer").fill("banana")
    apply.click()
    refused(page, "needs a picture")

    choose(page, "Guitar")
    apply.click()
    expect(page.locator("#edits li")).to_have_count(1)
    page.get_by_label("It shall answer").fill("  ")
    apply.click()
    refused(page, "The new answer is empty")
    page.get_by_label("It shall answer").fill("one two three four five six seven " * 8)
    apply.click()
    refused(page, "the limit is 32")
    page.get_by_label("When asked").fill("")
    page.get_by_label("It shall answer").fill("banana")
    apply.click()
    refused(page, "The question is empty")

    page.get_by_role("button", name="Remove Image").click()
    upload = page.locator("#picture input[type=file]")
    upload.set_input_files({"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture at all"})
    refused(page, "is not a")
    expect(page.locator("#picture img")).to_have_count(0)
    expect(page.locator("#edits li")).to_have_count(1)


def test_what_a_person_types_stays_text(page: sync_api.Page) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\">{{x}}${1}"
    choose(page, "Pizza")
    page.get_by_label("When asked").fill(evil)
    page.get_by_label("It shall answer").fill("<b>no</b>")
    page.get_by_role("button", name="Apply edit").click()
    expect(page.locator("#edits .prompt")).to_contain_text("onerror")
    expect(page.locator("#edits .target")).to_have_text("<b>no</b>")
    assert page.title() == "LiveEdit Workbench"


def test_the_tour_takes_five_clicks(page: sync_api.Page) -> None:
    steps = page.locator("#tour button")
    expect(steps).to_have_count(5)
    for number, answer in enumerate(("banana", "banana", "banana", "fox", "banana")):
        steps.nth(number).click()
        expect(steps.nth(number)).to_have_attribute("aria-current", "step")
        expect(page.locator(".answers:not(.waiting) .edited .said")).to_have_text(re.compile(answer, re.I))
    expect(page.locator("#edits li")).to_have_count(5)


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_reaches_past_the_edge(page: sync_api.Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    choose(page, "Four things")
    page.get_by_label("It shall answer").fill("an uncommonlylongwordwithoutanyspaceinit")
    page.get_by_role("button", name="Apply edit").click()
    expect(page.locator("#ledger tbody tr")).to_have_count(1)
    page.locator("#heatmaps img.heatmap").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
