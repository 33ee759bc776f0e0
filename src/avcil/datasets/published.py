"""The published benchmarks: AVE-CI, K-S-CI, VS100-CI, and VS100-CI without its leak.

Classes are in the order of the released class numbers. Labels are those of the release, including the truncated name
"subway, metr" of VGGSound100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    """Number of clips removed from each split because their video also has a training clip (none as released)."""

    @property
    def name(self) -> str:
        """Name of the benchmark."""
        return self.protocol.name

    def steps(self, classes_per_step: int | None = None, class_order_seed: int | None = None) -> Benchmark:
        """The published steps, or steps of another size, or with classes shuffled by a seed."""
        size = self.protocol.classes_per_step if classes_per_step is None else classes_per_step
        return Benchmark.from_ordered(self.classes, size, class_order_seed, name=self.name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of clips of each class and split, as in counts()["Cat"]["train"]."""
        counted = Counter((clip.label, clip.split) for clip in self.clips.values())
        return {label: {split: counted[label, split] for split in SPLITS} for label in self.classes}

    def leak(self) -> dict[str, int]:
        """Number of validation and test clips whose video also has a training clip."""
        return {split: len(ids) for split, ids in _leaked(self.clips).items()}


def load_published(name: str, *, copy: Path | None = None, cache: Path | None = None) -> PublishedBenchmark:
    """Load a published benchmark from its split files.

    Args:
        name: ave-ci, ks-ci, vs100-ci or vs100-ci-leak-free.
        copy: A folder with the released split files; None uses those in the cache.
        cache: The cache folder; None is the default one.

    Raises:
        InputError: The name is unknown, or the split files are missing; the message has the command that gets them.
    """
    chosen = protocol(name)
    return published(chosen, read_splits(find_splits(chosen, copy=copy, cache=cache)))


def published(chosen: Protocol, splits: Splits) -> PublishedBenchmark:
    """Build a benchmark from split files; InputError if they do not fit the protocol."""
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
