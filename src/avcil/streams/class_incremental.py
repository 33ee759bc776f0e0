"""Class-incremental learning: each task has all clips of some new classes. The protocol of the paper."""

from __future__ import annotations

from collections.abc import Sequence

from avcil.datasets.benchmark import Benchmark
from avcil.features import StoredClip
from avcil.streams.base import Stream, StreamType, tasks_by_class


class ClassIncremental(StreamType):
    """Steps of new classes."""

    summary = "tasks of new classes with all their clips; the default"

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        assert steps is not None
        return Stream(benchmark=steps, task_of_row=tasks_by_class(clips, steps))
