"""The clips of each task; training reads clips only through this module.

A step reads its own training clips, and exemplars by id; clips of later steps are never read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from avcil.data.modality import Modality
from avcil.data.presence import Presence
from avcil.errors import InputError, unknown_name
from avcil.features import FeatureStore
from avcil.streams.base import UNUSED, Stream
from avcil.training.device_config import DeviceConfig
from avcil.training.learning_data import LearningData
from avcil.training.timer import Timer
from avcil.utils.listing import quoted


class TaskData(LearningData):
    """A store's clips by the tasks of a stream.

    Args:
        store: The features.
        stream: At which task each clip arrives.
        learns_incomplete: Whether training clips that have a part of the modality, but not all of it, are used.

    The other arguments are those of `LearningData`.
    """

    store: FeatureStore

    def __init__(
        self,
        store: FeatureStore,
        stream: Stream,
        *,
        modality: Modality,
        device_config: DeviceConfig,
        learns_incomplete: bool = False,
        needs_all_tokens: bool = False,
        timer: Timer | None = None,
    ) -> None:
        super().__init__(
            store,
            stream.benchmark,
            modality=modality,
            device_config=device_config,
            needs_all_tokens=needs_all_tokens,
            timer=timer,
        )
        self.stream = stream
        self.learns_incomplete = learns_incomplete and len(modality.parts) > 1
        self._rows: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._incomplete: dict[tuple[str, int], list[int]] = defaultdict(list)
        for row, task in enumerate(stream.task_of_row.tolist()):
            if task != UNUSED:
                split, lacking = store.clips[row].split, self.lacking_parts(row)
                if lacking:
                    self._incomplete[split, task].append(row)
                if not lacking or (
                    self.learns_incomplete and split == "train" and len(lacking) < len(modality.parts)
                ):
                    self._rows[split, task].append(row)
        self._check()

    def presence(self, rows: Sequence[int]) -> Presence:
        """Which of `rows` (n) have audio and visual features that the stream does not withhold."""
        return Presence.of(
            (Modality.AUDIO not in lacking, Modality.VISUAL not in lacking)
            for lacking in map(self._lacking, rows)
        )

    def lacking_parts(self, row: int) -> tuple[Modality, ...]:
        """The parts of the modality that a clip lacks, or that the stream withholds from training."""
        return tuple(part for part in self._lacking(row) if part in self.modality.parts)

    def _lacking(self, row: int) -> tuple[Modality, ...]:
        clip, hidden = self.store.clips[row], self.stream.hidden.get(row, ())
        return tuple(part for part in Modality.AUDIO_VISUAL.parts if not clip.has(part) or part in hidden)

    @property
    def unused_training_clips(self) -> int:
        """Number of training clips of the benchmark's classes that the stream does not use."""
        labels = set(self.benchmark.classes)
        tasks = zip(self.store.clips, self.stream.task_of_row.tolist(), strict=True)
        return sum(task == UNUSED and clip.split == "train" and clip.label in labels for clip, task in tasks)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by class number: the classes of the benchmark without those removed so far."""
        return tuple(self.class_number)

    def begin_task(self, task: int) -> None:
        """Update the class numbers for the removals up to and including `task`."""
        self.class_number = {label: number for number, label in enumerate(self.stream.classes_after(task))}

    def removed_at(self, task: int) -> tuple[str, ...]:
        return self.stream.removed_at(task)

    def rows_to_forget(self, task: int) -> list[int]:
        if not self.stream.gives_removed_clips:
            return []
        removed = self.removed_at(task)
        earlier = (row for t in range(task) for row in self.rows("train", t))
        return [row for row in earlier if self.store.clips[row].label in removed]

    def clips_before(self, label: str, task: int) -> int:
        earlier = (row for t in range(task) for row in self.rows("train", t))
        return sum(self.store.clips[row].label == label for row in earlier)

    def _check(self) -> None:
        if self.modality.has_audio and self.store.audio_width is None:
            raise InputError(
                f"the store has no audio features; --modality {self.modality} needs it. Use --modality visual"
            )
        if self.modality.has_visual and self.store.visual_shape is None:
            raise InputError(
                f"the store has no visual features; --modality {self.modality} needs it. Use --modality audio"
            )
        in_store = {clip.label for clip in self.store.clips}
        if unknown := [label for label in self.benchmark.classes if label not in in_store]:
            raise unknown_name("class in the steps", unknown[0], in_store)
        for split in ("train", "test"):
            have = {
                self.store.clips[row].label
                for (s, _), rows in self._rows.items()
                if s == split
                for row in rows
            }
            missing = [label for label in self._needed(split) if label not in have]
            if missing:
                lacking = len(self.incomplete_rows(split))
                raise InputError(
                    f"no {split} clip of {quoted(missing, 'classes')}: every class needs clips in the split {split!r}"
                    + (f" that have {' and '.join(self.modality.parts)}" if lacking else "")
                    + ". Add clips and extract again"
                )
        training = self.presence([row for (s, _), rows in self._rows.items() if s == "train" for row in rows])
        for part in self.modality.parts:
            if not training.has(part).any():
                others = ", ".join(other for other in self.modality.parts if other is not part)
                raise InputError(f"no training clip has {part} features. Train with --modality {others}")
        for (split, task), rows in self._incomplete.items():
            if split != "val" and rows and not self._rows[split, task]:
                raise InputError(
                    f"step {task + 1}: all {len(rows)} {split} clips lack {' or '.join(self.modality.parts)}. "
                    "Train on one modality with --modality, or choose another stream"
                )

    def _needed(self, split: str) -> tuple[str, ...]:
        """Classes that need clips in a split: removed classes have no test clips."""
        last = len(self.benchmark.steps) - 1
        return self.stream.classes_after(last) if split == "test" else self.benchmark.classes

    def rows(self, split: str, task: int) -> list[int]:
        return self._rows[split, task]

    def incomplete_rows(self, split: str) -> list[int]:
        """Store rows of the clips, of all tasks, that lack a part of the modality."""
        return sorted(row for (s, _), rows in self._incomplete.items() if s == split for row in rows)

    def test_rows(self, task: int, input_modalities: Sequence[Modality]) -> dict[Modality, list[int]]:
        """Store rows of a task's test clips that a model can predict, by the modality used for the prediction.

        Args:
            task: Number of the task.
            input_modalities: The modalities that the model can predict from (`Model.input_modalities`).
        """
        by_modality = {self.modality: self.rows("test", task)}
        for part in self.modality.parts:
            if part != self.modality and part in input_modalities:
                clips = self._incomplete["test", task]
                by_modality[part] = [row for row in clips if self.store.clips[row].has(part)]
        return {part: rows for part, rows in by_modality.items() if rows}
