"""Streams with the attributes that continual-learning libraries use; neither library is needed.

A `Scenario` has the attributes of a benchmark of Avalanche (streams of experiences) and of a scenario of
`capymoa.ocl.datasets` (data sets and loaders by task). Training loops written for either read it directly. Strategies
of Avalanche need its own data sets: docs/how-to/other-libraries.md shows the conversion.

Classes have numbers in the order in which they arrive. K tasks, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from avcil.data.modality import Modality
from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.interop.torch_dataset import FeatureDataset, stored_modality
from avcil.streams.base import Stream
from avcil.streams.registry import DEFAULT, parse_stream

_SPLITS = {"train": "train", "valid": "val", "test": "test"}
"""Splits of a store by the name of the stream."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Experience:
    """The clips of one split that arrive at one task. The names of the attributes are those of Avalanche."""

    dataset: FeatureDataset
    current_experience: int
    """Number of the task, from 0."""
    origin_stream: ExperienceStream
    classes_in_this_experience: list[int]
    """Classes of its clips, sorted."""
    previous_classes: list[int]
    """Classes of earlier experiences of the stream, sorted."""
    removed_classes: list[int]
    """Classes that a model must forget before this task; none in most streams."""
    task_label: int = 0
    """0 at each task: a model is not told to which task a clip belongs."""

    @property
    def task_labels(self) -> list[int]:
        """The task labels of its clips."""
        return [self.task_label]

    @property
    def classes_seen_so_far(self) -> list[int]:
        """Classes of this and earlier experiences, sorted."""
        return sorted({*self.previous_classes, *self.classes_in_this_experience})

    @property
    def future_classes(self) -> list[int]:
        """Classes of later experiences that were not seen so far, sorted."""
        classes = {number for other in self.origin_stream for number in other.classes_in_this_experience}
        return sorted(classes - set(self.classes_seen_so_far))

    @property
    def benchmark(self) -> Scenario:
        """The scenario."""
        return self.origin_stream.benchmark

    scenario = benchmark


class ExperienceStream(Sequence[Experience]):
    """The experiences of one split, one for each task. A slice is a list."""

    def __init__(self, name: str, datasets: Sequence[FeatureDataset], benchmark: Scenario) -> None:
        self.name, self.benchmark = name, benchmark
        self._experiences: list[Experience] = []
        seen: set[int] = set()
        for task, dataset in enumerate(datasets):
            classes = set(dataset.targets)
            removed = benchmark.stream.removed_at(task)
            self._experiences.append(
                Experience(
                    dataset=dataset,
                    current_experience=task,
                    origin_stream=self,
                    classes_in_this_experience=sorted(classes),
                    previous_classes=sorted(seen),
                    removed_classes=[benchmark.classes.index(label) for label in removed],
                )
            )
            seen |= classes

    @overload
    def __getitem__(self, index: int) -> Experience: ...
    @overload
    def __getitem__(self, index: slice) -> list[Experience]: ...
    def __getitem__(self, index: int | slice) -> Experience | list[Experience]:
        return self._experiences[index]

    def __len__(self) -> int:
        return len(self._experiences)

    def __iter__(self) -> Iterator[Experience]:
        return iter(self._experiences)


class Scenario:
    """A feature store and a stream as streams of experiences.

    Test clips of task i are used after each task from i on. A task may have no clip of a split.

    Attributes:
        stream: The stream.
        classes: Class names, by class number.
        train_stream, valid_stream, test_stream: Experiences by task (Avalanche).
        streams: The three by name.
        n_experiences, n_classes: K and C (Avalanche).
        train_tasks, test_tasks: Data sets by task (CapyMOA).
        task_schedule: Numbers of the new classes of each task (CapyMOA).
        task_mask: (K, C) the same as booleans (CapyMOA).
        num_tasks, num_classes: K and C (CapyMOA).

    Args:
        store: The feature store of the stream.
        stream: At which task each clip arrives.
        modality: "audio-visual", "audio" or "visual". Default: all that the store has.
        options: Other arguments of `FeatureDataset`: missing, dtype, transform, target_transform.
    """

    def __init__(
        self, store: FeatureStore, stream: Stream, *, modality: Modality | str | None = None, **options: Any
    ) -> None:
        self.stream = stream
        self.classes = list(stream.benchmark.classes)
        splits = np.array([clip.split for clip in store.clips])
        modality = modality or stored_modality(store)

        def dataset(split: str, task: int) -> FeatureDataset:
            return FeatureDataset(
                store,
                rows=np.flatnonzero((splits == split) & (stream.task_of_row == task)),
                classes=self.classes,
                modality=modality,
                hidden=stream.hidden if split == "train" else None,
                **options,
            )

        tasks = range(len(stream.benchmark.steps))
        self.streams = {
            name: ExperienceStream(name, [dataset(split, task) for task in tasks], self)
            for name, split in _SPLITS.items()
        }
        self.train_stream, self.valid_stream, self.test_stream = self.streams.values()
        self.n_experiences = self.num_tasks = len(tasks)
        self.n_classes = self.num_classes = len(self.classes)
        self.train_tasks = [experience.dataset for experience in self.train_stream]
        self.test_tasks = [experience.dataset for experience in self.test_stream]
        number = {label: i for i, label in enumerate(self.classes)}
        self.task_schedule = [{number[label] for label in labels} for labels in stream.benchmark.steps]

    @property
    def task_mask(self) -> Tensor:
        """(K, C) whether a class is new at a task."""
        mask = torch.zeros(self.num_tasks, self.num_classes, dtype=torch.bool)
        for task, classes in enumerate(self.task_schedule):
            mask[task, sorted(classes)] = True
        return mask

    def train_loaders(self, batch_size: int, shuffle: bool = False, **options: Any) -> list[DataLoader[Any]]:
        """A loader for the training clips of each task. `options` are arguments of `DataLoader`."""
        return [
            DataLoader(task, batch_size=batch_size, shuffle=shuffle, **options) for task in self.train_tasks
        ]

    def test_loaders(self, batch_size: int, **options: Any) -> list[DataLoader[Any]]:
        """A loader for the test clips of each task. `options` are arguments of `DataLoader`."""
        return [DataLoader(task, batch_size=batch_size, **options) for task in self.test_tasks]


def as_scenario(
    store: FeatureStore | Path | str,
    stream: Stream | str = DEFAULT,
    *,
    classes_per_step: int | None = None,
    steps: Benchmark | None = None,
    seed: int = 0,
    modality: Modality | str | None = None,
    **options: Any,
) -> Scenario:
    """A feature store as a scenario of continual learning.

    Args:
        store: A feature store, or its folder.
        stream: A stream, or the text that names one, such as "few-shot,shots=5" (`avcil streams` lists them).
        classes_per_step: Number of new classes of each task, in natural order; for streams that need it.
        steps: The new classes of each task, instead of `classes_per_step`.
        seed: Seed of everything that the stream draws at random.
        modality: "audio-visual", "audio" or "visual". Default: all that the store has.
        options: Other arguments of `FeatureDataset`: missing, dtype, transform, target_transform.

    Raises:
        InputError: The stream does not fit the store, or some clips lack a modality and `missing` is "fail".
    """
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    if not isinstance(stream, Stream):
        spec = parse_stream(stream)
        if steps is None and classes_per_step is not None:
            steps = Benchmark.from_classes(store.labels, classes_per_step)
        if spec.kind.uses_steps and steps is None:
            raise InputError(f"the stream {spec.name} needs classes_per_step or steps")
        stream = spec.build(store.clips, steps if spec.kind.uses_steps else None, seed=seed)
    return Scenario(store, stream, modality=modality, **options)
