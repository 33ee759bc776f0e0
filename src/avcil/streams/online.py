"""One-pass online learning: each clip is seen in one batch, once, in the order of class-incremental tasks.

Source: Lopez-Paz & Ranzato, NeurIPS 2017; Aljundi et al., NeurIPS 2019 (batches of 10 new clips and 10 exemplars).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.streams.base import Stream, StreamResults, StreamType, area_under_curve, tasks_by_class


@dataclass(frozen=True, kw_only=True)
class OnlineOptions:
    """Sizes of the batches of gradient methods."""

    batch_size: int = 10
    """Clips per batch of gradient methods. Methods with paired batches have as many exemplars in addition."""


class Online(StreamType):
    """One epoch of small batches per task, without a choice of the best epoch."""

    summary = "class-incremental tasks in one pass: one epoch of small batches"
    Options = OnlineOptions
    one_pass = True

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        assert steps is not None
        if self.options.batch_size < 1:
            raise InputError("option batch_size of stream online must be 1 or more")
        return Stream(benchmark=steps, task_of_row=tasks_by_class(clips, steps))

    def settings(self) -> dict[str, Any]:
        size = self.options.batch_size
        return {"epochs": 1, "batch_size": size, "exemplar_batch_size": size, "selection": "last"}

    def metrics(self, results: StreamResults) -> dict[str, float]:
        """Accuracy averaged over the clips that arrived."""
        return {"a_auc": area_under_curve(results)}
