"""Class removal (unlearning): class-incremental tasks, then a task at which the model must forget some classes.

The accuracy matrix is computed on the test clips of the remaining classes. For methods that forget exactly, the
distance to a model that was trained without the removed classes is 0 up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.streams.base import UNUSED, Stream, StreamType, tasks_by_class


@dataclass(frozen=True, kw_only=True)
class RemovalOptions:
    """Options of the stream `class-removal`."""

    classes: int = 1
    """Number of classes that are removed at the end, selected at random. The first class of the first task is never
    removed."""
    forget: Literal["clips", "name"] = "clips"
    """What the method is given to remove a class. clips: its training clips, with which many closed-form methods
    forget it exactly. name: only its name."""


class ClassRemoval(StreamType):
    """The last task removes classes."""

    summary = "class-incremental tasks, then a task that removes classes (unlearning)"
    Options = RemovalOptions
    removes_classes = True

    @property
    def gives_removed_clips(self) -> bool:
        return self.options.forget == "clips"

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        assert steps is not None
        count = self.options.classes
        if not 1 <= count <= len(steps.classes) - 2:
            raise InputError(
                f"option classes of stream class-removal must be from 1 to {len(steps.classes) - 2} "
                f"({len(steps.classes)} classes, of which two must stay); not {count}"
            )
        generator = np.random.default_rng([seed, 5])
        candidates = steps.classes[1:]  # the first task keeps a class, so that its accuracy is defined
        drawn = sorted(generator.permutation(len(candidates))[:count].tolist())
        removed = tuple(candidates[i] for i in drawn)
        benchmark = Benchmark(
            name=steps.name, steps=(*steps.steps, ()), class_order_seed=steps.class_order_seed
        )
        tasks = tasks_by_class(clips, benchmark)
        for row, clip in enumerate(clips):
            if clip.split == "test" and clip.label in removed:
                tasks[row] = UNUSED
        nothing: tuple[str, ...] = ()
        return Stream(
            benchmark=benchmark,
            task_of_row=tasks,
            removed=(*(nothing for _ in steps.steps), removed),
            gives_removed_clips=self.gives_removed_clips,
        )
