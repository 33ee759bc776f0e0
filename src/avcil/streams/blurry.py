"""Blurry task boundaries: some classes belong to one task, the clips of the others are distributed over all tasks.

Source: Si-Blurry (Moon et al., ICCV 2023), after i-Blurry (Koh et al., ICLR 2022): a fraction of the classes is
disjoint. Each of the other classes has a main task, but a fraction of its clips is moved to random tasks. Gradient
methods train on each clip once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.streams.base import (
    UNUSED,
    OnePassOptions,
    OnePassStream,
    Stream,
    ordered_classes,
    require_clips,
    training_rows,
)
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class BlurryOptions(OnePassOptions):
    """Options of the stream `blurry`."""

    tasks: int = 5
    """Number of tasks."""
    disjoint: float = 0.5
    """Fraction of the classes whose clips all arrive at one task."""
    blurry: float = 0.1
    """Fraction of the training clips of the other classes that are moved to a random task."""
    parts: int = 1
    """Number of parts of equal size into which the clips of a task are divided at random. Each part is a step: after
    each part, the model is evaluated and exemplars are selected. With more parts, the metric A_AUC is more exact."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "tasks", least=2)
        check_range(self, "disjoint", "blurry", least=0, most=1)
        check_range(self, "parts", least=1)


class Blurry(OnePassStream):
    """Stochastic, unequal tasks with overlapping classes, in one pass."""

    summary = "disjoint and blurry classes, tasks of random sizes, one pass (Si-Blurry, ICCV 2023)"
    Options = BlurryOptions
    uses_steps = False
    repeats_classes = True

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        options = self.options
        generator = np.random.default_rng([seed, 3])
        classes = ordered_classes(clips, generator)
        if len(classes) < options.tasks:
            raise InputError(
                f"stream blurry with {options.tasks} tasks needs as many classes; there are {len(classes)}"
            )
        task_of_class = self._tasks_of_classes(classes, generator)
        require_clips(training_rows(clips, classes), 1, "stream blurry")
        order = self._order_of_clips(clips, classes, task_of_class, generator)
        return _stream_in_order(clips, order, seed)

    def _tasks_of_classes(self, classes: Sequence[str], generator: np.random.Generator) -> dict[str, int]:
        """Assign a random task to each class; each task has at least one class, and the sizes differ."""
        tasks = np.concatenate(
            [
                np.arange(self.options.tasks),
                generator.integers(self.options.tasks, size=len(classes) - self.options.tasks),
            ]
        )
        return dict(zip(classes, generator.permutation(tasks).tolist(), strict=True))

    def _order_of_clips(
        self,
        clips: Sequence[StoredClip],
        classes: Sequence[str],
        task_of_class: dict[str, int],
        generator: np.random.Generator,
    ) -> list[np.ndarray]:
        """Store rows of the training clips of each task, or of each part of one, in the order of arrival."""
        options = self.options
        disjoint = set(classes[: round(options.disjoint * len(classes))])
        by_task: list[list[int]] = [[] for _ in range(options.tasks)]
        for label, rows in training_rows(clips, classes).items():
            moves = np.zeros(len(rows), bool)
            if label not in disjoint:
                moves = generator.random(len(rows)) < options.blurry
            targets = generator.integers(options.tasks, size=len(rows))
            for row, is_moved, target in zip(rows, moves, targets, strict=True):
                by_task[int(target) if is_moved else task_of_class[label]].append(row)
        return [
            part
            for rows in by_task
            for part in np.array_split(generator.permutation(rows).astype(np.int64), options.parts)
            if len(part)
        ]


def _stream_in_order(clips: Sequence[StoredClip], order: Sequence[np.ndarray], seed: int) -> Stream:
    """A stream whose tasks have the given training rows; a class is new at the task of its first clip."""
    tasks = np.full(len(clips), UNUSED, dtype=np.int64)
    first: dict[str, int] = {}
    for task, rows in enumerate(order):
        tasks[rows] = task
        for row in rows:
            first.setdefault(clips[row].label, task)
    for row, clip in enumerate(clips):
        if clip.split != "train" and clip.label in first:
            tasks[row] = first[clip.label]
    steps = tuple(tuple(label for label, at in first.items() if at == task) for task in range(len(order)))
    return Stream(benchmark=Benchmark(name="blurry", steps=steps, class_order_seed=seed), task_of_row=tasks)
