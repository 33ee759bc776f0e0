"""Small real clips, and the store of an extraction in one process without interruption."""

from __future__ import annotations

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.media import write_video

COUNT = 10


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Ten clips of a moving square with a tone."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for number in range(COUNT):
        frames = np.full((10, 48, 64, 3), 30, np.uint8)
        for t, frame in enumerate(frames):
            frame[10:30, 3 * t : 3 * t + 16] = (20 * number, 200, 90)
        waveform = 0.3 * np.sin(np.arange(8_000) * (0.05 + 0.03 * number)).astype(np.float32)
        path = folder / f"{number}.mp4"
        write_video(path, list(frames), 20.0, waveform=waveform, sample_rate=16_000)
        made.append(Clip(clip_id=f"clip{number}", path=path, label="ab"[number % 2], split="train"))
    return made


@pytest.fixture(scope="session")
def whole(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """All clips, extracted by one process with reading threads."""
    out = tmp_path_factory.mktemp("whole") / "store"
    extract(clips, out, batch_size=2, isolate=False, visual="patch-motion", audio="log-mel")
    return FeatureStore(out)
