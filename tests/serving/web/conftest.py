"""A small recogniser taught from real files, served at a free port of this machine."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="needs the extra [serve]")

import uvicorn

from avcil.media import write_video
from avcil.serving.web.limits import Limits
from avcil.serving.web.server import make_app
from avcil.serving.web.service import Service

LIMITS = Limits(upload_bytes=400_000, seconds=5.0, clips=12, workers=2, waiting=300)


@dataclass
class Served:
    """A server under way."""

    url: str
    service: Service


@pytest.fixture(scope="session")
def blade(avcil, taught) -> Path:
    """A run of a method that learns on exactly."""
    out = taught / "blade"
    words = ["train", taught / "features", "--classes-per-step", "2", "--method", "blade", "--out", out]
    assert avcil(*words) == 0
    return out


@pytest.fixture
def run(blade, tmp_path) -> Path:
    """A copy of the run for one test."""
    return Path(shutil.copytree(blade, tmp_path / "run"))


@pytest.fixture(scope="session")
def new_clips(tmp_path_factory) -> Callable[[int], list[Path]]:
    """Eight clips of a new class: a disc that grows, with a chirp; takes differ a little."""

    def make(number: int) -> list[Path]:
        folder = tmp_path_factory.mktemp("new")
        return [_new_clip(folder / f"new-{number}-{take}.mp4", number, take) for take in range(8)]

    return make


def _new_clip(path: Path, number: int, take: int) -> Path:
    rng = np.random.default_rng((90 + number, take))
    y, x = np.mgrid[:48, :64]
    frames = []
    for t in range(12):
        inside = (y - 24) ** 2 + (x - 32) ** 2 < (4 + t + rng.integers(2)) ** 2
        frames.append(np.where(inside[..., None], (250, 240 * number % 256, 40), 200).astype(np.uint8))
    time = np.arange(9600) / 16000
    chirp = 0.3 * np.sin(2 * np.pi * (200 + 1500 * (1 + number) * time) * time)
    sound = chirp + 0.01 * rng.standard_normal(len(time))
    write_video(path, frames, 20.0, sound=sound.astype(np.float32), sample_rate=16000)
    return path


@contextmanager
def serving(run: Path, *, names: tuple[str, ...] = (), **options: object) -> Iterator[Served]:
    """Serve a run for as long as it is looked at."""
    service = Service(run, limits=LIMITS, **options)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = uvicorn.Server(
        uvicorn.Config(make_app(service, names=names), log_level="error", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", service)
    finally:
        server.should_exit = True
        thread.join()
        service.close()
        listening.close()


@pytest.fixture
def serve_run() -> Callable[..., object]:
    """The context `serving`."""
    return serving


@pytest.fixture
def served(run) -> Iterator[Served]:
    """The run, served."""
    with serving(run) as found:
        yield found
