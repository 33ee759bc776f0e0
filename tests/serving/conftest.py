"""A recogniser taught by the commands that users type, from small clips whose class names are awkward on purpose."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from avcil.media import write_video

SMALL_ENCODERS = ("--visual", "patch-motion", "--audio", "log-mel")
"""Faster than the default ones."""

CLASSES = ('dog, "big"', "cat/kitten", "🎸 guitar", "-minus")
COUNTS = {"train": 3, "val": 1, "test": 2}
RATE = 16_000


def write_clip(path: Path, number: int, take: int, *, sound: bool = True) -> None:
    """A bar that moves in a class's own direction, with a tone of its own; takes differ a little."""
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
        sound=tone.astype(np.float32) if sound else None,
        sample_rate=RATE if sound else None,
    )


@pytest.fixture(scope="session")
def taught(avcil, tmp_path_factory) -> Path:
    """A folder with clips/, clips.csv, features/ and runs of AV-CIL (av) and fine-tuning (audio, visual)."""
    folder = tmp_path_factory.mktemp("taught")
    rows = [["path", "label", "split", "clip_id"]]
    for number, label in enumerate(CLASSES):
        for split, count in COUNTS.items():
            for take in range(count):
                name = f"clips/{split}-{number}-{take}.mp4"
                write_clip(folder / name, number, 10 * list(COUNTS).index(split) + take)
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
    assert avcil(*common, "--method", "av-cil", "--memory-per-class", "2", "--out", folder / "av") == 0
    for modality in ("audio", "visual"):
        words = ["--method", "fine-tuning", "--modality", modality, "--out", folder / modality]
        assert avcil(*common, *words) == 0
    return folder
