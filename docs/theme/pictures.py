"""Take the pictures of the documentation, after tutorial.py has run in FOLDER: python docs/theme/pictures.py FOLDER

Frames of a clip without and with the attention of AV-CIL; the report and the page of `avcil serve` in Chromium.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from save_picture import save

from avcil.media import read_clip

CLIP = "runs/demo/clips/test/ball-bell/000.mp4"
NEW_CLASS = "ball-horn"
"""A class that the tutorial's first model does not have."""
NEW_CLIPS = 12
DOCS = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
SIDE = 224
"""Pixels of the short side of a frame."""
TIMEOUT = 120_000
"""Milliseconds."""


def main(folder: Path) -> None:
    """Take all pictures."""
    folder = folder.absolute()
    save(strip(folder / CLIP), "clip.jpg")
    save(strip(next((folder / "tutorial/explained").glob("*.mp4"))), "explained.jpg")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        report(browser, folder)
        with served(folder, "tutorial/more") as address:
            save(shot(predicted(browser, folder, address)), "served.png")
        with served(folder, "tutorial/blade") as address:  # a run, so that the page offers its test clips
            save(shot(predicted(browser, folder, address), full=True), "serving-predict.png", folder=DOCS)
            teaching(browser, folder, address)
        browser.close()


def report(browser: Browser, folder: Path) -> None:
    """The top of the report."""
    page = opened(browser, (folder / "tutorial/report.html").as_uri(), 1000, 1150)
    save(shot(page), "report.png")


def predicted(browser: Browser, folder: Path, address: str) -> Page:
    """The page after a prediction."""
    page = opened(browser, address, 1000, 800)
    page.set_input_files("#predict-file input[type=file]", folder / CLIP)
    page.locator("#prediction .spectrogram").wait_for(timeout=TIMEOUT)
    page.wait_for_timeout(4_000)
    return page


def teaching(browser: Browser, folder: Path, address: str) -> None:
    """The page after a class was taught."""
    page = opened(browser, address, 1100, 620)
    page.get_by_role("tab", name="Teach").click()
    page.fill("#teach-label input, #teach-label textarea", NEW_CLASS)
    clips = sorted((folder / "runs/demo/clips/train" / NEW_CLASS).glob("*.mp4"))[:NEW_CLIPS]
    page.set_input_files("#teach-files input[type=file]", clips)
    page.locator("#teach-files .file-preview tr").nth(len(clips) - 1).wait_for(timeout=TIMEOUT)
    page.click("#teach-start:enabled")
    page.locator(".accuracy").wait_for(timeout=TIMEOUT)
    page.wait_for_timeout(2_000)
    page.mouse.move(0, 0)
    save(shot(page), "serving-teach.png", folder=DOCS)


def opened(browser: Browser, address: str, width: int, height: int) -> Page:
    """A page in a window of a size in pixels, in light mode."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.goto(address)
    return page


def strip(path: Path, count: int = 4) -> np.ndarray:
    """`count` frames side by side."""
    frames = read_clip(path, frames=count, short_side=SIDE).frames
    assert frames is not None
    return np.concatenate(list(frames), axis=1)


def shot(page: Page, *, full: bool = False) -> np.ndarray:
    """The window, or the full page."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=full))).convert("RGB"))


@contextmanager
def served(folder: Path, model: str) -> Iterator[str]:
    """Serve a model of the tutorial, with a state of its own; gives the address."""
    with tempfile.TemporaryDirectory() as state:
        words = [sys.executable, "-m", "avcil", "serve", model, "--port", "0", "--work", state]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        server = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
