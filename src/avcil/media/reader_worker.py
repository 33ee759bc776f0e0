"""The worker process that decodes media files; started by `avcil.media.reader`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from avcil.media.clip import read_clip
from avcil.media.container import MediaError
from avcil.media.probe import probe
from avcil.media.windows import read_windows
from avcil.workers.child import Arrays, MemoryBudget, answer_requests


def main() -> None:
    """Answer requests: `reader_worker MEGABYTES SECONDS`."""
    operations = {"probe": _probe, "read_clip": _read_clip, "read_windows": _read_windows}
    answer_requests(operations, megabytes=int(sys.argv[1]), seconds=float(sys.argv[2]))


def _probe(*, budget: MemoryBudget, path: str, **options: Any) -> Iterator[tuple[Any, Arrays]]:
    yield asdict(probe(path, **options)), {}


def _read_clip(*, budget: MemoryBudget, path: str, **options: Any) -> Iterator[tuple[Any, Arrays]]:
    media = read_clip(path, **options)
    if media.problems and budget.is_strained():
        raise MediaError(f"{path}: {'; '.join(media.problems)}")  # reported as a lack of memory
    facts = {"sample_rate": media.sample_rate, "duration": media.duration, "problems": media.problems}
    yield facts, _present(frames=media.frames, frame_times=media.frame_times, sound=media.sound)


def _read_windows(
    *, budget: MemoryBudget, path: str, spans: list[list[float]], **options: Any
) -> Iterator[tuple[Any, Arrays]]:
    for window in read_windows(path, [(start, end) for start, end in spans], **options):
        facts = {"start": window.start, "end": window.end, "problems": window.problems}
        yield facts, _present(frames=window.frames, sound=window.sound)


def _present(**arrays: np.ndarray | None) -> Arrays:
    return {name: array for name, array in arrays.items() if array is not None}


if __name__ == "__main__":
    main()
