"""A stream: a pure function from the clips of a feature store to a sequence of tasks.

A stream assigns each clip to a task. It reads labels, splits and ids, never features, so it cannot leak test data or
later classes into training. Random choices depend only on `seed`.

N clips, K tasks.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from avcil.datasets.benchmark import Benchmark, natural_key
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.runs.metrics import accuracy_per_step
from avcil.utils.options import NoOptions, check_range

UNUSED = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """A sequence of tasks.

    A training clip is learned only at its task. Validation and test clips are also assigned to tasks: the test clips
    of task i are evaluated after task i and after each later task (column i of the accuracy matrix).
    """

    benchmark: Benchmark
    """The new classes of each task. A task may have none."""
    task_of_row: np.ndarray
    """(N,) int, the task of each clip of the store; UNUSED for clips that are not part of the stream."""
    hidden: Mapping[int, Collection[str]] = field(default_factory=dict)
    """By store row of a training clip, the modalities ("audio", "visual") that are withheld from training."""
    removed: tuple[tuple[str, ...], ...] = ()
    """Classes that the model must forget at the start of each task; () if no task has any."""
    gives_removed_clips: bool = False
    """Whether the method is given the training clips of the classes that it must forget."""

    def __post_init__(self) -> None:
        if len(self.task_of_row) and int(self.task_of_row.max()) >= len(self.benchmark.steps):
            raise ValueError(
                f"a clip belongs to task {self.task_of_row.max()} of {len(self.benchmark.steps)}"
            )

    @property
    def fingerprint(self) -> str:
        """A hash of the tasks, hidden modalities and removed classes; the benchmark is not part of it."""
        digest = hashlib.sha256(self.task_of_row.astype("<i8").tobytes())
        hidden = {row: sorted(parts) for row, parts in sorted(self.hidden.items())}
        digest.update(repr((hidden, self.removed)).encode())
        return digest.hexdigest()[:16]

    def removed_at(self, task: int) -> tuple[str, ...]:
        """Classes to forget at the start of a task."""
        return self.removed[task] if self.removed else ()

    def classes_after(self, task: int) -> tuple[str, ...]:
        """All classes of the benchmark in order, without those removed up to and including `task`."""
        removed = {label for labels in self.removed[: task + 1] for label in labels}
        return tuple(label for label in self.benchmark.classes if label not in removed)


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamResults:
    """The results from which the metrics of a stream are computed."""

    stream: Stream
    R: np.ndarray
    """(K, K) accuracy after each task on the test clips of each task; NaN above the diagonal and in the columns of
    tasks without test clips."""
    n: np.ndarray
    """(K,) number of test clips of each task."""
    train_clips: Sequence[int]
    """(K,) number of training clips of each task."""


class StreamType(ABC):
    """Base class of a kind of stream. A file defines one class; its name is the file name with "-" for "_"."""

    summary: ClassVar[str]
    """One line for lists."""
    Options: ClassVar[type] = NoOptions
    uses_steps: ClassVar[bool] = True
    """Whether the classes of each task are given by --classes-per-step, --steps or --benchmark."""
    one_pass: ClassVar[bool] = False
    """Whether each clip may be used in one batch only."""
    repeats_classes: ClassVar[bool] = False
    """Whether clips of a class arrive at several tasks."""
    removes_classes: ClassVar[bool] = False
    """Whether the model must forget classes."""

    @property
    def gives_removed_clips(self) -> bool:
        """Whether the method is given the training clips of a class that it must forget."""
        return False

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        """The stream.

        Args:
            clips: The clips of the store, or those of a published benchmark, by row.
            steps: The classes of each step, if `uses_steps`; else None.
            seed: Seed of all random choices.

        Raises:
            InputError: There are too few clips for the options.
        """

    def settings(self) -> dict[str, Any]:
        """Training options that the stream prescribes, by their name in `TrainConfig`."""
        return {}

    def metrics(self, results: StreamResults) -> dict[str, float]:
        """Metrics of this kind of stream, in addition to those of `runs/metrics.py`; fractions."""
        return {}


@dataclass(frozen=True, kw_only=True)
class OnePassOptions:
    """Options of streams in which each clip is used once."""

    batch_size: int = 10
    """New clips per batch of gradient methods. Methods with paired batches add the same number of exemplars."""

    def __post_init__(self) -> None:
        check_range(self, "batch_size", least=1)


class OnePassStream(StreamType):
    """A stream in which each clip is used in one batch: one epoch of small batches per task, and its last weights."""

    Options = OnePassOptions
    one_pass = True

    def settings(self) -> dict[str, Any]:
        size = self.options.batch_size
        return {"epochs": 1, "batch_size": size, "exemplar_batch_size": size, "selection": "last"}

    def metrics(self, results: StreamResults) -> dict[str, float]:
        """A_AUC, the accuracy averaged over the training clips."""
        return {"a_auc": _area_under_curve(results)}


def tasks_by_class(clips: Sequence[StoredClip], benchmark: Benchmark) -> np.ndarray:
    """(N,) the task at which the class of each clip is new; UNUSED for clips of other classes."""
    task_of = {label: task for task, labels in enumerate(benchmark.steps) for label in labels}
    return np.array([task_of.get(clip.label, UNUSED) for clip in clips], dtype=np.int64)


def training_rows(clips: Sequence[StoredClip], labels: Collection[str]) -> dict[str, list[int]]:
    """Store rows of the training clips of each class."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        if clip.split == "train" and clip.label in labels:
            rows[clip.label].append(row)
    return {label: rows[label] for label in labels}


def ordered_classes(clips: Sequence[StoredClip], generator: np.random.Generator) -> list[str]:
    """All classes of the store in random order."""
    classes = sorted({clip.label for clip in clips}, key=natural_key)
    return [classes[i] for i in generator.permutation(len(classes))]


def require_clips(rows: Mapping[str, Sequence[int]], least: int, what: str) -> None:
    """Reject a stream if a class has too few training clips.

    Raises:
        InputError: A class has fewer than `least` training clips.
    """
    short = {label: len(of_class) for label, of_class in rows.items() if len(of_class) < least}
    if short:
        label = min(short, key=lambda name: short[name])
        others = f" ({len(short)} classes have too few)" if len(short) > 1 else ""
        raise InputError(
            f"{what} needs {least} training clips of each class; {label!r} has {short[label]}{others}. "
            "Add clips, or choose smaller numbers in the options of the stream"
        )


def _area_under_curve(results: StreamResults) -> float:
    """A_AUC: the accuracy over the classes seen, averaged over the training clips that arrived.

    sum_s a_s c_s / sum_s c_s, with a_s the accuracy after task s, measured once per task, and c_s its training clips.
    Source: Si-Blurry (Moon et al., ICCV 2023), where the accuracy is measured after a fixed number of clips.
    """
    weights = np.asarray(results.train_clips, dtype=np.float64)
    return float(np.asarray(accuracy_per_step(results.R, results.n)) @ weights / weights.sum())
