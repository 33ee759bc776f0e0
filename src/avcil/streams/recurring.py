"""Recurring classes: tasks with parts of the clips of new and earlier classes (CoLLAs 2023).

After class-incremental learning with repetition (Hemati et al., CoLLAs 2023), whose generators draw the classes of each
task from a distribution. Here, each class has a fixed number of parts, and each clip occurs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.streams.base import Stream, StreamType, require_clips, tasks_by_class, training_rows
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class RecurringOptions:
    """Options of the stream `recurring`."""

    parts: int = 3
    """Number of parts of nearly equal size into which the training clips of a class are divided at random. Classes with
    fewer than `parts` - 1 later tasks have fewer parts."""

    def __post_init__(self) -> None:
        check_range(self, "parts", least=2)


class Recurring(StreamType):
    """A class is new at one task, and has other clips at later tasks."""

    summary = "tasks with parts of the clips of new and earlier classes (CoLLAs 2023)"
    Options = RecurringOptions
    repeats_classes = True

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        assert steps is not None
        parts, count = self.options.parts, len(steps.steps)
        if count < 2:
            raise InputError("stream recurring needs at least 2 steps")
        tasks = tasks_by_class(clips, steps)
        generator = np.random.default_rng([seed, 2])
        rows = training_rows(clips, steps.classes)
        for label, of_class in rows.items():
            first = steps.task_of(label)
            later = generator.permutation(np.arange(first + 1, count))[: parts - 1]
            at = [first, *sorted(later.tolist())]
            require_clips({label: of_class}, len(at), f"stream recurring with parts={parts}")
            for task, part in zip(at, np.array_split(generator.permutation(of_class), len(at)), strict=True):
                tasks[part] = task
        return Stream(benchmark=steps, task_of_row=tasks)
