"""Interface through which trainers read clips, for runs and for updates of a saved model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from avcil.data.modality import Modality
from avcil.data.presence import Presence
from avcil.datasets import Benchmark
from avcil.encoders.constants import Constants
from avcil.encoders.parts import EncoderPart
from avcil.features import StoredClip
from avcil.training.data import Features, Table
from avcil.training.device_config import DeviceConfig
from avcil.training.memory_pool import Budget
from avcil.training.timer import READING, Timer


class _LabeledFeatures(Features, Protocol):
    """Features with one row for each clip."""

    @property
    def clips(self) -> Sequence[StoredClip]: ...
    def parts(self, modality: str) -> tuple[EncoderPart, ...]:
        """The encoders that the features of "audio" or "visual" come from."""
        ...

    def constants(self, modality: str) -> Constants | None:
        """Typical center and scale of the features of "audio" or "visual"; None if unknown."""
        ...


class LearningData(ABC):
    """Clips by step and split, and their features as tensors.

    Attributes:
        budget: Memory for the tables of a step; set at the start of each step.
        scratch: Folder for temporary files; None for none.

    Args:
        store: The features.
        benchmark: The classes of each step.
        modality: What the model uses of a clip.
        device_config: Device and dtypes of the tensors.
        needs_all_tokens: Return all visual tokens also with the modality `visual`, instead of their mean.
        timer: Measures the time for reading.
    """

    def __init__(
        self,
        store: _LabeledFeatures,
        benchmark: Benchmark,
        *,
        modality: Modality,
        device_config: DeviceConfig,
        needs_all_tokens: bool = False,
        timer: Timer | None = None,
    ) -> None:
        self.store, self.benchmark, self.modality = store, benchmark, modality
        self.device_config, self.needs_all_tokens = device_config, needs_all_tokens
        self.timer = timer or Timer()
        self.budget = Budget.host_only(0)
        self.scratch: Path | None = None
        self.class_number = {label: number for number, label in enumerate(benchmark.classes)}
        self._row_of_id = {clip.clip_id: row for row, clip in enumerate(store.clips)}

    def removed_at(self, task: int) -> Sequence[str]:
        """Classes that the model must forget at the start of a task."""
        return ()

    def begin_task(self, task: int) -> None:  # noqa: B027
        """Update the class numbers for the removals up to and including `task`."""

    def rows_to_forget(self, task: int) -> list[int]:
        """Store rows of the training clips of removed classes, if the method needs them."""
        return []

    @abstractmethod
    def clips_before(self, label: str, task: int) -> int:
        """Number of training clips of a class at earlier tasks."""

    @abstractmethod
    def rows(self, split: str, task: int) -> list[int]:
        """Store rows of a task's clips that the method uses."""

    def presence(self, rows: Sequence[int]) -> Presence:
        """Which of `rows` (n) have audio and visual features."""
        return Presence.of_clips(self.store.clips[row] for row in rows)

    def rows_of_ids(self, clip_ids: Sequence[str]) -> list[int]:
        """Store rows of exemplars."""
        return [self._row_of_id[clip_id] for clip_id in clip_ids]

    def labels(self, rows: Sequence[int]) -> list[int]:
        """Class numbers of store rows."""
        return [self.class_number[self.store.clips[row].label] for row in rows]

    def table(self, rows: Sequence[int], *, once: bool = False, modality: Modality | None = None) -> Table:
        """The features of `rows`.

        Args:
            rows: Store rows.
            once: The rows are used once, so they are read when needed and not stored.
            modality: What all of these clips have of the modality of the data; None: all of it.
        """
        with self.timer.during(READING):
            return Table(
                self.store,
                rows,
                self.labels(rows),
                modality=modality or self.modality,
                device_config=self.device_config,
                budget=Budget.host_only(0) if once else self.budget,
                needs_all_tokens=self.needs_all_tokens or modality not in (None, self.modality),
            )
