"""The published benchmarks: AVE-CI, K-S-CI, VS100-CI, and VS100-CI without its leak.

Classes come in the order of the released class numbers; labels are the release's own, the cut name
"subway, metr" of VGGSound100 included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avcil.data.clips import SPLITS
from avcil.datasets.benchmark import Benchmark
from avcil.datasets.fetch import find_splits
from avcil.datasets.protocols import Protocol, protocol
from avcil.datasets.split_files import SplitClip, Splits, read_splits
from avcil.datasets.video_names import VIDEO_ID
from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PublishedBenchmark:
    """A benchmark of the paper: protocol, order of the classes, and label and split of each clip."""

    protocol: Protocol
    classes: tuple[str, ...]
    clips: Mapping[str, SplitClip]
    """Label and split by clip id."""
    removed: Mapping[str, int]
    """Clips left out of each split because their video also has a training clip (none as released)."""

    @property
    def name(self) -> str:
        """Name of the benchmark."""
        return self.protocol.name

    def steps(self, classes_per_step: int | None = None, class_order_seed: int | None = None) -> Benchmark:
        """The steps as published, or of another size, or with the classes shuffled by a seed."""
        size = self.protocol.classes_per_step if classes_per_step is None else classes_per_step
        if not 1 <= size <= len(self.classes):
            raise InputError(
                f"--classes-per-step is {size}, but {self.name} has {len(self.classes)} classes; "
                f"choose 1 to {len(self.classes)}"
            )
        classes = self.classes
        if class_order_seed is not None:
            if class_order_seed < 0:
                raise InputError(f"--class-order-seed must be 0 or more, not {class_order_seed}")
            order = np.random.default_rng(class_order_seed).permutation(len(classes))
            classes = tuple(classes[i] for i in order)
        steps = tuple(classes[i : i + size] for i in range(0, len(classes), size))
        return Benchmark(name=self.name, steps=steps, class_order_seed=class_order_seed)

    def counts(self) -> dict[str, dict[str, int]]:
        """Clips of each class and split: counts()["Cat"]["train"]."""
        counted = Counter((clip.label, clip.split) for clip in self.clips.values())
        return {label: {split: counted[label, split] for split in SPLITS} for label in self.classes}

    def leak(self) -> dict[str, int]:
        """Number of validation and test clips whose video also has a training clip."""
        return {split: len(ids) for split, ids in _leaked(self.clips).items()}


def load_published(name: str, *, copy: Path | None = None, cache: Path | None = None) -> PublishedBenchmark:
    """The published benchmark `name`, from the split files in the cache or in the folder `copy`.

    Names: ave-ci, ks-ci, vs100-ci, vs100-ci-leak-free. Raises `InputError` for another name, and with the
    command that gets the split files where they are missing.
    """
    chosen = protocol(name)
    return published(chosen, read_splits(find_splits(chosen, copy=copy, cache=cache)))


def published(chosen: Protocol, splits: Splits) -> PublishedBenchmark:
    """Build a benchmark from split files; files that do not fit the protocol are refused."""
    clips = dict(splits.clips)
    removed = dict.fromkeys(("val", "test"), 0)
    if chosen.leak_free:
        for split, ids in _leaked(clips).items():
            removed[split] = len(ids)
            for clip_id in ids:
                del clips[clip_id]
    counts = Counter(clip.split for clip in clips.values())
    if len(splits.classes) != chosen.classes or any(counts[split] != chosen.clips[split] for split in SPLITS):
        raise InputError(
            f"the split files of {chosen.name} give {len(splits.classes)} classes and {_shown(counts)} clips; "
            f"published are {chosen.classes} classes and {_shown(chosen.clips)}. "
            f"Run: avcil benchmark fetch {chosen.name}"
        )
    return PublishedBenchmark(protocol=chosen, classes=splits.classes, clips=clips, removed=removed)


def _leaked(clips: Mapping[str, SplitClip]) -> dict[str, list[str]]:
    """Validation and test clips whose video also has a training clip.

    >>> one, other = "abcdefghijk_000010", "abcdefghijk_000020"
    >>> len(_leaked({one: SplitClip("Cat", "train"), other: SplitClip("Cat", "test")})["test"])
    1
    """
    # a clip id begins with the id of its video
    trained = {clip_id[:VIDEO_ID] for clip_id, clip in clips.items() if clip.split == "train"}
    return {
        split: [i for i, clip in clips.items() if clip.split == split and i[:VIDEO_ID] in trained]
        for split in ("val", "test")
    }


def _shown(counts: Mapping[str, int]) -> str:
    return " / ".join(f"{counts[split]} {split}" for split in SPLITS)
