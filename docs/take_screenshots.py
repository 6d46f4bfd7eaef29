"""Take the README's screenshots from a running page: wide, narrow and dark, each after one edit.

    python app.py &
    python docs/take_screenshots.py --url http://127.0.0.1:7860

Needs chromium (Debian's package ``chromium``, or CHROMIUM in the environment).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).resolve().parent / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WAIT = 120_000  # milliseconds
Scheme = Literal["light", "dark"]
SHOTS: tuple[tuple[str, int, Scheme], ...] = (
    ("wide", 1280, "light"),
    ("narrow", 390, "light"),
    ("dark", 1280, "dark"),
)


def take(browser: Browser, url: str, path: Path, width: int, scheme: Scheme, title: str, target: str) -> None:
    """Choose an example, ask, edit, wait for the heatmaps, and save the whole page."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1.5)
    page.set_default_timeout(WAIT)
    page.goto(url)
    page.locator(f'#examples button[title="{title}"]').click()
    page.locator("#picture img").wait_for()
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".answers:not(.waiting)").wait_for()
    page.get_by_label("It shall answer").fill(target)
    page.get_by_role("button", name="Apply edit").click()
    page.locator("#check .check").wait_for()
    page.locator("#heatmaps img.heatmap").first.wait_for()
    print(f"{path.name}: {page.locator('#check').inner_text()}")
    # What is still worked on is drawn faintly.
    page.wait_for_function("!document.querySelector('.pending')")
    page.wait_for_timeout(800)  # let the last transitions end
    page.screenshot(path=path, full_page=True)
    page.close()


def main() -> int:
    """Parse flags and take all screenshots."""
    parser = argparse.ArgumentParser(description="Take the README's screenshots from a running page.")
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--example", default="Penguin", help="title of the example picture")
    parser.add_argument("--target", default="banana", help="the edit's new answer")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        print("take_screenshots.py: chromium is not installed (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, width, scheme in SHOTS:
            take(browser, args.url, args.out / f"{name}.png", width, scheme, args.example, args.target)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
