"""A small model trained on real files, served at a free port."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason="needs the extra [serve]")

import uvicorn

from avcil.inference import Recognizer
from avcil.media import write_video
from avcil.serve.guard import Guard
from avcil.serve.limits import ServeLimits
from avcil.serve.server import make_app, server_config
from avcil.serve.service import Service

LIMITS = ServeLimits(upload_bytes=400_000, seconds=5.0, clips=12, workers=2, waiting=300)


@dataclass
class Served:
    """A running server."""

    url: str
    service: Service
    app: Guard


@pytest.fixture(scope="session")
def blade(avcil, trained) -> Path:
    """A run of blade."""
    out = trained / "blade"
    arguments = ["train", trained / "features", "--classes-per-step", "2", "--method", "blade", "--out", out]
    assert avcil(*arguments) == 0
    return out


@pytest.fixture
def run(blade, tmp_path) -> Path:
    """A copy of the run for one test."""
    return Path(shutil.copytree(blade, tmp_path / "run"))


@pytest.fixture(scope="session")
def new_clips(tmp_path_factory) -> Callable[[int], list[Path]]:
    """Eight clips of a new class: a growing disc with a chirp; takes differ slightly."""

    @cache
    def write(number: int) -> tuple[Path, ...]:
        folder = tmp_path_factory.mktemp("new")
        return tuple(_new_clip(folder / f"new-{number}-{take}.mp4", number, take) for take in range(8))

    return lambda number: list(write(number))


def _new_clip(path: Path, number: int, take: int) -> Path:
    rng = np.random.default_rng((90 + number, take))
    y, x = np.mgrid[:48, :64]
    frames = []
    for t in range(12):
        inside = (y - 24) ** 2 + (x - 32) ** 2 < (4 + t + rng.integers(2)) ** 2
        frames.append(np.where(inside[..., None], (250, 240 * number % 256, 40), 200).astype(np.uint8))
    time = np.arange(9600) / 16000
    chirp = 0.3 * np.sin(2 * np.pi * (200 + 1500 * (1 + number) * time) * time)
    waveform = chirp + 0.01 * rng.standard_normal(len(time))
    write_video(path, frames, 20.0, waveform=waveform.astype(np.float32), sample_rate=16000)
    return path


@contextmanager
def serving(
    run: Path, *, limits: dict[str, Any] | None = None, app: dict[str, Any] | None = None, **options: object
) -> Iterator[Served]:
    """Serve a run within the context; `limits` and `app` change the limits and the options of `make_app`."""
    service = Service(run, limits=replace(LIMITS, **(limits or {})), **options)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    made = make_app(service, **(app or {}))
    proxy = bool((app or {}).get("names"))
    server = uvicorn.Server(server_config(made, proxy=proxy, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", service, made)
    finally:
        server.should_exit = True
        thread.join()
        service.close()
        listening.close()


@pytest.fixture
def serve_run() -> Callable[..., object]:
    """The context `serving`."""
    return serving


@pytest.fixture(autouse=True)
def upload_folder(tmp_path, monkeypatch) -> Path:
    """A folder for the page's uploads of one test."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return tmp_path / "uploads"


@pytest.fixture
def served(run) -> Iterator[Served]:
    """A server of the run."""
    with serving(run) as result:
        yield result


@pytest.fixture(scope="module")
def shared_server(blade, tmp_path_factory) -> Iterator[Served]:
    """One server for the tests of a file that do not change its model."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        with serving(Path(shutil.copytree(blade, folder / "run"))) as result:
            yield result
            assert result.service.state_directory.updates == [], "a test has changed the model"


SECONDS = 60_000


class Visitor:
    """A user of the page with a separate browser context; errors of the page are in `seen`."""

    def __init__(self, chromium: Any, url: str, *, width: int = 1280, dark: bool = False) -> None:
        self.width, self.seen = width, []
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            permissions=["camera", "microphone"],
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        own = re.compile(rf"{re.escape(url)}|data:|blob:")
        self.page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.seen.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda r: None if own.match(r.url) else self.seen.append(f"request: {r.url}"))
        self.page.goto(url)
        self.page.wait_for_selector("h1")

    def go(self, tab: str) -> None:
        """Open a tab."""
        self.page.get_by_role("tab", name=tab).click()

    def ask(self, clip: Path) -> str:
        """Drop a clip, and return the class that the page shows."""
        self.go("Predict")
        if self.page.locator("#prediction .verdict").count():
            self.page.locator("#predict-file button[aria-label='Clear']").click()
            self.page.get_by_text("The prediction appears here").wait_for()
        self.page.set_input_files("#predict-file input[type=file]", str(clip))
        return self.page.locator("#prediction .verdict").inner_text()

    def begin(self, label: str, clips: list[Path]) -> None:
        """Enter a class name, drop clips, and press the button."""
        self.go("Teach")
        self.page.fill("#teach-label input, #teach-label textarea", label)
        self.page.set_input_files("#teach-files input[type=file]", [str(clip) for clip in clips])
        self.page.wait_for_function(f"document.querySelectorAll('#teach-files tr').length >= {len(clips)}")
        self.page.click("#teach-start:enabled")

    def teach(self, label: str, clips: list[Path]) -> None:
        """Add a class and wait until it is learned."""
        self.begin(label, clips)
        self.page.get_by_role("heading", name=f"Class “{label}” was added").wait_for()

    def undo(self, label: str) -> None:
        """Remove the last class."""
        self.go("Teach")
        self.page.click(f"#teach-undo:enabled:has-text('{label}')")
        self.page.locator("#teach-message").get_by_text(f"“{label}” was undone").wait_for()

    def fits(self) -> bool:
        """Whether the page needs no horizontal scrolling."""
        return self.page.evaluate("document.documentElement.scrollWidth") <= self.width


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., Visitor]]:
    """Open a page for a user; it is closed when the test ends."""
    visitors: list[Visitor] = []

    def come(url: str, **how: Any) -> Visitor:
        visitors.append(Visitor(chromium, url, **how))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.context.close()


@pytest.fixture
def other(run, new_clips, tmp_path) -> Recognizer:
    """The same run with one more class."""
    recognizer = Recognizer.load(run)
    recognizer.learn(new_clips(1), ["rook"] * 8)
    return recognizer
