"""Which clips of a store belong to which step: the only way by which training sees clips.

A step asks for its own training clips and for exemplars by id; clips of later steps are never read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from avcil.datasets import Benchmark
from avcil.datasets.split_files import SplitClip
from avcil.errors import InputError
from avcil.features import FeatureStore, StoredClip
from avcil.models.base import Modality, modality_parts, parts_of
from avcil.training.device_config import DeviceConfig
from avcil.training.learning_data import LearningData
from avcil.training.timer import Timer


class TaskData(LearningData):
    """A store's clips by the tasks of a benchmark.

    Args:
        clips: The clips of a published benchmark; others of the store are not looked at.

    The other arguments are those of `LearningData`.
    """

    store: FeatureStore
    benchmark: Benchmark

    def __init__(
        self,
        store: FeatureStore,
        benchmark: Benchmark,
        *,
        modality: Modality,
        device_config: DeviceConfig,
        clips: Mapping[str, SplitClip] | None = None,
        whole_tokens: bool = False,
        watch: Timer | None = None,
    ) -> None:
        super().__init__(
            store,
            benchmark,
            modality=modality,
            device_config=device_config,
            whole_tokens=whole_tokens,
            watch=watch,
        )
        task_of = {label: task for task, step in enumerate(benchmark.steps) for label in step}
        self._rows: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._incomplete: dict[tuple[str, int], list[int]] = defaultdict(list)
        used = 0
        for row, clip in enumerate(store.clips):
            if clip.label in task_of and _belongs(clip, clips):
                rows = self._rows if clip.has(modality) else self._incomplete
                rows[clip.split, task_of[clip.label]].append(row)
                used += 1
        self.lacking = len(clips) - used if clips is not None else 0
        """How many clips of a published benchmark the store has not."""
        self._check()

    def _check(self) -> None:
        has_audio, has_visual = modality_parts(self.modality)
        if has_audio and self.store.audio_width is None:
            raise InputError(
                f"the store has no sound; --modality {self.modality} needs it. Use --modality visual"
            )
        if has_visual and self.store.visual_shape is None:
            raise InputError(
                f"the store has no picture; --modality {self.modality} needs it. Use --modality audio"
            )
        for split in ("train", "test"):
            have = {
                self.store.clips[row].label
                for (s, _), rows in self._rows.items()
                if s == split
                for row in rows
            }
            missing = [label for label in self.benchmark.classes if label not in have]
            if missing:
                lacking = len(self.incomplete_rows(split))
                raise InputError(
                    f"no {split} clip of {', '.join(map(repr, missing[:5]))}"
                    + (f" and {len(missing) - 5} more classes" if len(missing) > 5 else "")
                    + f": every class needs clips in the split {split!r}"
                    + (f" that have {' and '.join(parts_of(self.modality))}" if lacking else "")
                    + ". Add clips and extract again"
                )

    def rows(self, split: str, task: int) -> list[int]:
        return self._rows[split, task]

    def incomplete_rows(self, split: str) -> list[int]:
        """Store rows of the clips, of all tasks, that lack a part of the modality; nothing is learnt from them."""
        return sorted(row for (s, _), rows in self._incomplete.items() if s == split for row in rows)

    def test_rows(self, task: int, answers: Sequence[str]) -> dict[Modality, list[int]]:
        """Store rows of a task's test clips that a model can answer for, by the modality that it answers from.

        Args:
            task: Number of the task.
            answers: What the model can answer from (`Model.answers`).
        """
        found = {self.modality: self.rows("test", task)}
        for part in parts_of(self.modality):
            if part != self.modality and part in answers:
                clips = self._incomplete["test", task]
                found[part] = [row for row in clips if self.store.clips[row].has(part)]
        return {part: rows for part, rows in found.items() if rows}


def _belongs(clip: StoredClip, clips: Mapping[str, SplitClip] | None) -> bool:
    """Whether a stored clip is one of the benchmark's, which must then agree about it."""
    if clips is None:
        return True
    published = clips.get(clip.clip_id)
    if published is not None and published != SplitClip(clip.label, clip.split):
        raise InputError(
            f"clip {clip.clip_id!r} is {clip.label!r}, {clip.split}, in the store, but {published.label!r}, "
            f"{published.split}, in the benchmark. "
            "Make the store with avcil import-features, or train without --benchmark"
        )
    return published is not None
