"""Take the tutorial's pictures, after tutorial.py has run it in FOLDER: python docs/theme/pictures.py FOLDER

Frames of a clip as it is and as AV-CIL looks at it; the report and the served page in Chromium.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from small_png import save

from avcil.media import read_clip

CLIP = "runs/demo/clips/test/ball-bell/000.mp4"
CHROMIUM = "/usr/bin/chromium"


def main(folder: Path) -> None:
    """All four."""
    save(strip(folder / CLIP), "clip.png")
    save(strip(next((folder / "tutorial/explained").glob("*.mp4"))), "explained.png")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="light")
        page.goto((folder / "tutorial/report.html").absolute().as_uri())
        page.set_viewport_size({"width": 1000, "height": 1150})
        save(shot(page), "report.png")
        page.set_viewport_size({"width": 1000, "height": 800})
        with served(folder) as address:
            page.goto(address)
            page.set_input_files("#ask-file input[type=file]", folder / CLIP)
            page.get_by_text("ball-bell").first.wait_for(timeout=120_000)
            page.wait_for_timeout(5_000)
            save(shot(page), "served.png")
        browser.close()


def strip(path: Path, count: int = 4) -> np.ndarray:
    """`count` frames side by side, (128, count * 128, 3)."""
    frames = read_clip(path, frames=count, short_side=128).frames
    assert frames is not None
    return np.concatenate(list(frames), axis=1)


def shot(page: Page) -> np.ndarray:
    """What the window shows."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the model that the tutorial serves."""
    words = [sys.executable, "-m", "avcil", "serve", "tutorial/more", "--port", "0"]
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
