"""Online learning: each clip is used once, in the order of class-incremental tasks.

Source: Lopez-Paz & Ranzato, NeurIPS 2017; Aljundi et al., NeurIPS 2019 (batches of 10 new clips and 10 exemplars).
"""

from __future__ import annotations

from collections.abc import Sequence

from avcil.datasets.benchmark import Benchmark
from avcil.features import StoredClip
from avcil.streams.base import OnePassStream, Stream, tasks_by_class


class Online(OnePassStream):
    """One epoch of small batches per task, without selection of the best epoch."""

    summary = "class-incremental tasks in one pass: one epoch of small batches (NeurIPS 2017)"

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        assert steps is not None
        return Stream(benchmark=steps, task_of_row=tasks_by_class(clips, steps))
