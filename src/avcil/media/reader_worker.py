"""The worker process of `avcil.media.reader`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from avcil.media.clip import read_clip
from avcil.media.container import MediaError
from avcil.media.messages import pack
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


def _probe(*, budget: MemoryBudget, **options: Any) -> Iterator[tuple[Any, Arrays]]:
    yield pack(probe(**options))


def _read_clip(
    *, budget: MemoryBudget, path: str, extra_samplings: list[dict[str, Any]], **options: Any
) -> Iterator[tuple[Any, Arrays]]:
    media = read_clip(path, extra_samplings=_samplings(extra_samplings), **options)
    if media.problems and budget.is_half_used():
        raise MediaError(f"{path}: {'; '.join(media.problems)}")  # reported as exceeding the memory limit
    yield pack(media)


def _read_windows(
    *, budget: MemoryBudget, path: str, samplings: list[dict[str, Any]], **options: Any
) -> Iterator[tuple[Any, Arrays]]:
    yield from map(pack, read_windows(Path(path), samplings=_samplings(samplings), **options))


def _samplings(values: list[dict[str, Any]]) -> list[FrameSampling]:
    return [FrameSampling(**sampling) for sampling in values]


if __name__ == "__main__":
    main()
