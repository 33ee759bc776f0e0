"""The command line, run in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avcil.media import write_video


def write_clip(path: Path, number: int) -> None:
    """Half a second of a moving colored square with a tone."""
    frames = np.full((10, 48, 64, 3), 30, dtype=np.uint8)
    for t, frame in enumerate(frames):
        frame[10:30, 4 * t : 4 * t + 16] = (80 * number, 200, 90)
    tone = 0.3 * np.sin(np.arange(8_000) * (0.1 + 0.2 * number))
    write_video(path, list(frames), 20.0, waveform=tone.astype(np.float32), sample_rate=16_000)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A folder SPLIT/CLASS/clip of four classes."""
    folder = tmp_path_factory.mktemp("cli") / "clips"
    for number, label in enumerate(("cat", "dog", "owl", "toad")):
        for split, count in (("train", 2), ("val", 1), ("test", 1)):
            (folder / split / label).mkdir(parents=True)
            for take in range(count):
                write_clip(folder / split / label / f"{take}.mp4", number)
    return folder
