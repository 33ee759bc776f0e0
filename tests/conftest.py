"""Stores of made-up features that learn quickly, one thread, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from avcil.cli.main import main
from avcil.clips import Clip
from avcil.features import FeatureWriter
from avcil.features.manifest import Manifest, Modality

# The same examples at every run: a suite that fails by chance teaches people to run it again.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

COUNTS = {"train": 8, "val": 3, "test": 4}


def make_store(
    folder: Path,
    *,
    classes: int = 6,
    grid: tuple[int, int] = (2, 3),
    width: int = 12,
    audio_width: int = 10,
    seed: int = 0,
) -> Path:
    """A store of `classes` classes named c0, c1, ...: Gaussian clouds, separable by sound and picture together."""
    rng = np.random.default_rng(seed)
    manifest = Manifest(
        visual=Modality(shape=(*grid, width), encoder={"name": "made-up"}),
        audio=Modality(shape=(audio_width,), encoder={"name": "made-up"}),
        sampling={"frames": 4, "sample_rate": 16000},
    )
    writer = FeatureWriter(folder, manifest)
    for number in range(classes):
        visual_mean, audio_mean = rng.standard_normal(width), rng.standard_normal(audio_width)
        for split, count in COUNTS.items():
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
    """`make_store` with other numbers than those of `store`."""
    return lambda **numbers: make_store(tmp_path / "new-store", **numbers)


@pytest.fixture(scope="session")
def single_thread() -> Iterator[None]:
    """One thread from now on: small networks lose by more, and the last bits of a run depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def avcil(single_thread) -> Callable[..., int]:
    """Run a command in this process; gives its exit code."""

    def command(*words: object) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        return int(end.value.code or 0)

    return command


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes, small."""
    return make_store(tmp_path_factory.mktemp("features") / "store")
