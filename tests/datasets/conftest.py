"""Synthetic benchmarks under published names, and small videos for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_release import write_release

from avcil.datasets import protocols
from avcil.datasets.published import PublishedBenchmark, load_published
from avcil.datasets.split_files import SplitClip
from avcil.media import write_video


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 10 s clip and a 45 s video, with truncated copies; a silent, a damaged and an empty file."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    for name, seconds, has_audio in (("clip", 10, True), ("whole", 45, True), ("silent", 10, False)):
        frames = rng.integers(0, 255, (seconds, 16, 16, 3), dtype=np.uint8)
        waveform = rng.standard_normal(8000 * seconds).astype(np.float32) * 0.1 if has_audio else None
        write_video(
            folder / f"{name}.mp4", frames, 1.0, waveform=waveform, sample_rate=8000 if has_audio else None
        )
    for source, name, part in (("clip", "truncated", 0.5), ("clip", "nearly", 0.6), ("whole", "half", 0.5)):
        remux(folder / f"{source}.mp4", folder / f"{name}.mkv")
        data = (folder / f"{name}.mkv").read_bytes()
        (folder / f"{name}.mkv").write_bytes(data[: round(part * len(data))])
    (folder / "damaged.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:500])
    (folder / "empty.mp4").touch()
    return folder


def remux(source: Path, target: Path) -> None:
    """Copy the tracks of a file into a Matroska file, whose header comes first."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        tracks = {track.index: outside.add_stream_from_template(track) for track in inside.streams}
        for packet in inside.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                outside.mux(packet)


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PublishedBenchmark]:
    """Makes a benchmark of synthetic clips under a published name, and puts its split files into the cache."""

    def make(name: str, clips: dict[str, SplitClip]) -> PublishedBenchmark:
        plan = write_release(tmp_path / "release", name, clips)
        monkeypatch.setattr(protocols, "PROTOCOLS", {name: plan})
        monkeypatch.setenv("AVCIL_CACHE", str(tmp_path / "cache"))
        return load_published(name, copy=tmp_path / "release")

    return make


@pytest.fixture
def place(tmp_path: Path, media: Path) -> Callable[..., Path]:
    """Puts copies of a file of `media` at paths below a folder of videos; returns this folder."""

    def copies(source: str, *paths: str) -> Path:
        for path in paths:
            target = tmp_path / "videos" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(media / source, target)
        return tmp_path / "videos"

    return copies
