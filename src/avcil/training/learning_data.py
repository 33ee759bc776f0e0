"""What a learner may look at of the clips: the interface that runs and updates of a saved model share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from avcil.data.modality import Modality
from avcil.encoders.constants import Constants
from avcil.encoders.parts import EncoderPart
from avcil.features import StoredClip
from avcil.training.data import Features, Table
from avcil.training.device_config import DeviceConfig
from avcil.training.memory_pool import Budget
from avcil.training.timer import READING, Timer


class Steps(Protocol):
    """Which classes come at which step."""

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]: ...
    @property
    def classes(self) -> tuple[str, ...]:
        """All classes in the order in which they come."""
        ...


class LabeledFeatures(Features, Protocol):
    """Features with their clips, a row a clip."""

    @property
    def clips(self) -> Sequence[StoredClip]: ...
    def parts(self, modality: str) -> tuple[EncoderPart, ...]:
        """The encoders that the features of "audio" or "visual" come from."""
        ...

    def constants(self, modality: str) -> Constants | None:
        """Typical center and scale of the features of "audio" or "visual"; None where they are unknown."""
        ...


class LearningData(ABC):
    """Clips by step and split, and their features as tensors.

    Attributes:
        budget: What the tables of a step may hold in memory. It is set anew when a step begins.
        scratch: Folder for temporary files; None for none.

    Args:
        store: The features.
        benchmark: The classes of each step.
        modality: What the model uses of a clip.
        device_config: Where and in which dtype tensors are given.
        whole_tokens: Give all visual tokens even to a visual-only model, instead of their mean.
        watch: Counts the seconds of reading.
    """

    def __init__(
        self,
        store: LabeledFeatures,
        benchmark: Steps,
        *,
        modality: Modality,
        device_config: DeviceConfig,
        whole_tokens: bool = False,
        watch: Timer | None = None,
    ) -> None:
        self.store, self.benchmark, self.modality = store, benchmark, modality
        self.device_config, self.whole_tokens, self.watch = device_config, whole_tokens, watch or Timer()
        self.budget = Budget.of_host(0)
        self.scratch: Path | None = None
        self.class_number = {label: number for number, label in enumerate(benchmark.classes)}
        self._row_of_id = {clip.clip_id: row for row, clip in enumerate(store.clips)}

    def removed_at(self, task: int) -> Sequence[str]:
        """Classes that the model must forget at the start of a task."""
        return ()

    def begin_task(self, task: int) -> None:  # noqa: B027
        """Number the classes as after the removals up to and including `task`."""

    def rows_to_forget(self, task: int) -> list[int]:
        """Store rows of the training clips of removed classes, if the method is given them."""
        return []

    @abstractmethod
    def clips_before(self, label: str, task: int) -> int:
        """Number of training clips of a class at earlier tasks."""

    @abstractmethod
    def rows(self, split: str, task: int) -> list[int]:
        """Store rows of a task's clips that have all parts of the modality."""

    def rows_of_ids(self, clip_ids: Sequence[str]) -> list[int]:
        """Store rows of exemplars."""
        return [self._row_of_id[clip_id] for clip_id in clip_ids]

    def labels(self, rows: Sequence[int]) -> list[int]:
        """Class numbers, in the order of learning."""
        return [self.class_number[self.store.clips[row].label] for row in rows]

    def table(self, rows: Sequence[int], *, once: bool = False, modality: Modality | None = None) -> Table:
        """The features of `rows`.

        Args:
            rows: Store rows.
            once: They are used once, so they are read when needed and not held.
            modality: A part of the data's modality, for clips that lack the other.
        """
        with self.watch.during(READING):
            return Table(
                self.store,
                rows,
                self.labels(rows),
                modality=modality or self.modality,
                device_config=self.device_config,
                budget=Budget.of_host(0) if once else self.budget,
                whole_tokens=self.whole_tokens or modality not in (None, self.modality),
            )
