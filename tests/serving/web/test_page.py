"""The page in a real Chromium: ask, teach two classes, ask again, undo, at desktop and phone width."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]
SECONDS = 60_000


@pytest.fixture
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


def open_page(browser, url: str, width: int):
    """The page, with what went wrong in it and what it asked other hosts for."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(SECONDS)
    seen: list[str] = []
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    own = re.compile(rf"{re.escape(url)}|data:|blob:")
    page.on("request", lambda r: None if own.match(r.url) else seen.append(f"request: {r.url}"))
    page.goto(url)
    page.wait_for_selector("h1")
    return page, seen


def ask(page, clip: Path) -> str:
    """Drop a clip, and give the class that the page names."""
    page.get_by_role("tab", name="Ask").click()
    if page.locator("#answer .verdict").count():
        page.locator(
            "#ask-file button[aria-label*='lear'], #ask-file button[aria-label*='emove']"
        ).first.click()
        page.wait_for_selector("#answer .hint")
    page.set_input_files("#ask-file input[type=file]", str(clip))
    return page.locator("#answer .verdict").inner_text()


def teach(page, label: str, clips: list[Path]) -> None:
    """Name a class, drop clips, and wait until it is learnt."""
    page.get_by_role("tab", name="Teach").click()
    page.fill("#teach-label input, #teach-label textarea", label)
    page.set_input_files("#teach-files input[type=file]", [str(clip) for clip in clips])
    page.wait_for_function(f"document.querySelectorAll('#teach-files tr').length >= {len(clips)}")
    page.click("#teach-start")
    page.get_by_role("heading", name=f"It knows “{label}” now").wait_for()


def undo(page, label: str) -> None:
    """Take the last class back."""
    page.wait_for_selector("#teach-undo:enabled")
    page.click("#teach-undo")
    page.locator("#teach-said").get_by_text(f"“{label}” was taken back").wait_for()


def walk(page, known: Path, first: tuple[str, list[Path]], second: tuple[str, list[Path]]) -> None:
    """The whole way of a visitor."""
    assert ask(page, known)
    for label, clips in (first, second):
        teach(page, label, clips)
    assert ask(page, first[1][0]) == first[0]
    assert ask(page, second[1][0]) == second[0]
    page.get_by_role("tab", name="Gallery").click()
    page.locator(".known", has_text=second[0]).wait_for()
    page.get_by_role("tab", name="Teach").click()
    undo(page, second[0])
    assert ask(page, second[1][0]) != second[0]


@pytest.mark.parametrize("width", [1280, 390])
def test_ask_teach_ask_undo(browser, served, taught, new_clips, width):
    """All of it works, fits the width, runs no markup that is hidden in names, and asks no other host."""
    page, seen = open_page(browser, served.url, width)
    evil = "<img src=x onerror=alert(1)>"
    known = next((taught / "clips").glob("test-*.mp4"))
    walk(page, known, (evil, new_clips(0)), ("second", new_clips(1)))
    for tab in ("Ask", "Teach", "Gallery"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen == []
    assert set(served.service.recognizer.classes_) >= {evil}
    page.close()
