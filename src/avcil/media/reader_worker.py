"""The worker process of `avcil.media.reader`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from avcil.media.clip import read_clip
from avcil.media.container import MediaError
from avcil.media.probe import probe
from avcil.media.windows import read_windows
from avcil.utils.frame_sampling import FrameSampling
from avcil.workers.child import Arrays, MemoryBudget, answer_requests


def main() -> None:
    """Answer requests: `reader_worker MEGABYTES SECONDS`."""
    operations: dict[str, Callable[..., Iterator[tuple[Any, Arrays]]]] = {
        "probe": _probe,
        "read_clip": _read_clip,
        "read_windows": _read_windows,
    }
    answer_requests(operations, megabytes=int(sys.argv[1]), seconds=float(sys.argv[2]))


def _probe(*, budget: MemoryBudget, path: str, **options: Any) -> Iterator[tuple[Any, Arrays]]:
    yield asdict(probe(path, **options)), {}


def _read_clip(
    *, budget: MemoryBudget, path: str, extra_samplings: list[dict[str, Any]], **options: Any
) -> Iterator[tuple[Any, Arrays]]:
    media = read_clip(path, extra_samplings=_samplings(extra_samplings), **options)
    if media.problems and budget.is_half_used():
        raise MediaError(f"{path}: {'; '.join(media.problems)}")  # reported as exceeding the memory limit
    properties = {"sample_rate": media.sample_rate, "duration": media.duration, "problems": media.problems}
    arrays = _present(frames=media.frames, frame_times=media.frame_times, waveform=media.waveform)
    yield properties, arrays | _extra_frames(media.extra_frames)


def _read_windows(
    *,
    budget: MemoryBudget,
    path: str,
    spans: list[list[float]],
    samplings: list[dict[str, Any]],
    **options: Any,
) -> Iterator[tuple[Any, Arrays]]:
    pairs = [(start, end) for start, end in spans]
    for window in read_windows(Path(path), pairs, samplings=_samplings(samplings), **options):
        properties = {"start": window.start, "end": window.end, "problems": window.problems}
        yield (
            properties,
            _present(frames=window.frames, waveform=window.waveform) | _extra_frames(window.extra_frames),
        )


def _samplings(given: list[dict[str, Any]]) -> list[FrameSampling]:
    return [FrameSampling(**sampling) for sampling in given]


def _extra_frames(extra_frames: tuple[np.ndarray, ...]) -> Arrays:
    """Frames of additional samplings, with names as in `avcil.media.reader`."""
    return {f"extra_frames.{number}": frames for number, frames in enumerate(extra_frames)}


def _present(**arrays: np.ndarray | None) -> Arrays:
    return {name: array for name, array in arrays.items() if array is not None}


if __name__ == "__main__":
    main()
