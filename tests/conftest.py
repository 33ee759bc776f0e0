"""Shared fixtures: stores of generated features, models of small clips, commands run in this process, a browser."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from avcil.cli.main import main
from avcil.data.clips import Clip
from avcil.features import FeatureWriter
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest
from avcil.media import write_video

# Tests start many processes, each of which would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples in every run, so that failures can be reproduced.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

SLOW = (
    "experiments/test_demo.py",
    "experiments/test_leaderboard.py",
    "experiments/test_ray.py",
    "docs/test_readme.py",
    "docs/test_tutorial.py",
    "extraction/test_ray_extract.py",
    "serve/test_page.py",
    "serve/test_page_states.py",
    "training/test_kill.py",
    "training/test_distributed.py",
    "training/test_appending_trackers.py",
    "training/test_tracking.py",
)
"""Files with the slowest tests: whole sequences of commands, kills, several processes, a browser. `make test-slow` runs
them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `SLOW`."""
    for item in items:
        if item.path.as_posix().endswith(SLOW):
            item.add_marker(pytest.mark.slow)


COUNTS = {"train": 8, "val": 3, "test": 4}


def make_store(
    folder: Path,
    *,
    classes: int = 6,
    grid: tuple[int, int] = (2, 3),
    width: int = 12,
    audio_width: int = 10,
    seed: int = 0,
    counts: Mapping[str, int] = COUNTS,
) -> Path:
    """A store of `classes` classes named c0, c1, ...: Gaussian clusters, separable with both modalities together."""
    rng = np.random.default_rng(seed)
    manifest = Manifest(
        visual=FeatureSpec(shape=(*grid, width), encoder={"name": "made-up"}),
        audio=FeatureSpec(shape=(audio_width,), encoder={"name": "made-up"}),
        sampling={"frames": 4, "sample_rate": 16000},
    )
    writer = FeatureWriter(folder, manifest)
    for number in range(classes):
        visual_mean, audio_mean = rng.standard_normal(width), rng.standard_normal(audio_width)
        for split, count in counts.items():
            for i in range(count):
                clip_id = f"c{number}/{split}/{i}"
                clip = Clip(clip_id=clip_id, path=Path(f"{clip_id}.mp4"), label=f"c{number}", split=split)
                visual = visual_mean + rng.standard_normal((*grid, width))
                audio = audio_mean + 0.7 * rng.standard_normal(audio_width)
                writer.add(clip, visual=visual.astype(np.float32), audio=audio.astype(np.float32))
    writer.close()
    return folder


@pytest.fixture
def new_store(tmp_path) -> Callable[..., Path]:
    """A store like `store` with other random features."""
    return lambda **numbers: make_store(tmp_path / "new-store", **numbers)


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> Iterator[None]:
    """Limit PyTorch to one thread, also in processes that tests start.

    Small networks are faster, and the last bits depend on the number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def no_flush() -> Iterator[None]:
    """Do not wait for the disk: no test cuts the power, and tests of a full disk replace os.fsync themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def avcil() -> Callable[..., int]:
    """Run a command in this process; gives its exit code."""

    def command(*arguments: object) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in arguments])
        return int(end.value.code or 0)

    return command


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store of six classes."""
    return make_store(tmp_path_factory.mktemp("features") / "store")


SMALL_ENCODERS = ("--visual", "patch-motion", "--audio", "log-mel")
"""Faster than the default ones."""

CLASSES = ('dog, "big"', "cat/kitten", "🎸 guitar", "-minus")
CLIPS_PER_CLASS = {"train": 3, "val": 1, "test": 2}
RATE = 16_000


def write_clip(path: Path, number: int, take: int, *, waveform: bool = True) -> None:
    """A bar that moves in the direction of a class, with a tone of the class; takes differ slightly."""
    rng = np.random.default_rng((number, take))
    frames = np.full((12, 48, 64, 3), 30, dtype=np.uint8)
    for t, frame in enumerate(frames):
        place = (4 * t + int(rng.integers(3))) % 40
        bar = frame[:, place : place + 8] if number % 2 else frame[place : place + 8]
        bar[:] = (60 + 60 * number, 220 - 50 * number, 128)
    time = np.arange(int(0.6 * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (300 + 500 * number) * time) + 0.01 * rng.standard_normal(len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(
        path,
        list(frames),
        20.0,
        waveform=tone.astype(np.float32) if waveform else None,
        sample_rate=RATE if waveform else None,
    )


@pytest.fixture(scope="session")
def trained(avcil, tmp_path_factory) -> Path:
    """A folder with clips/, clips.csv, features/ and runs of AV-CIL (av) and fine-tuning (audio, visual)."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [["path", "label", "split", "clip_id"]]
    for number, label in enumerate(CLASSES):
        for split, count in CLIPS_PER_CLASS.items():
            for take in range(count):
                name = f"clips/{split}-{number}-{take}.mp4"
                write_clip(folder / name, number, 10 * list(CLIPS_PER_CLASS).index(split) + take)
                rows.append([name, label, split, f"{label}, {split} {take}"])
    with open(folder / "clips.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    assert avcil("extract", folder / "clips.csv", "--out", folder / "features", *SMALL_ENCODERS) == 0
    common = [
        "train",
        folder / "features",
        "--classes-per-step",
        "2",
        "--epochs",
        "5",
        "--learning-rate",
        "0.002",
    ]
    assert avcil(*common, "--method", "av-cil", "--exemplars-per-class", "2", "--out", folder / "av") == 0
    for modality in ("audio", "visual"):
        arguments = ["--method", "fine-tuning", "--modality", modality, "--out", folder / modality]
        assert avcil(*common, *arguments) == 0
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium with a fake camera and microphone; Playwright can run only once in a process."""
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("needs /usr/bin/chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    arguments = ("no-sandbox", "disable-gpu", "disable-dev-shm-usage")
    arguments += ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path="/usr/bin/chromium", args=[f"--{word}" for word in arguments]
        )
        yield browser
        browser.close()
