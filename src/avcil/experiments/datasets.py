"""What a table is about: feature stores, each with the way in which its classes come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from avcil.datasets.protocols import protocol
from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.features import FeatureStore
from avcil.training.resolve import published_benchmark


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A store and how its classes come."""

    name: str
    store: FeatureStore
    features: Path
    benchmark: str | None
    steps: Path | None

    @property
    def classes(self) -> int:
        """How many classes there are to learn."""
        if self.benchmark is not None:
            return protocol(self.benchmark).classes
        return len({clip.label for clip in self.store.clips})

    @property
    def modalities(self) -> set[str]:
        """What the store has."""
        has_audio, has_visual = self.store.audio_width is not None, self.store.visual_shape is not None
        return {
            m
            for m, has in (
                ("audio", has_audio),
                ("visual", has_visual),
                ("audio-visual", has_audio and has_visual),
            )
            if has
        }

    @property
    def lacking(self) -> str:
        """What the store lacks of a published benchmark, in words; empty where it has all."""
        if self.benchmark is None:
            return ""
        clips = published_benchmark(self.benchmark).clips
        lacking = len(clips.keys() - {clip.clip_id for clip in self.store.clips})
        if not lacking:
            return ""
        return (
            f"The store lacks {lacking} of the {len(clips)} clips of {self.benchmark}: "
            "figures are not those of the whole benchmark."
        )


def open_datasets(config: ReproduceConfig) -> tuple[Dataset, ...]:
    """The stores that the command names, opened; raises InputError for what is none."""
    datasets = []
    for number, features in enumerate(config.features):
        benchmark = config.benchmark[number] if config.benchmark else None
        if benchmark is not None:
            protocol(benchmark)
        name = benchmark or features.resolve().name
        steps = config.steps[number] if config.steps else None
        store = FeatureStore(features)
        datasets.append(Dataset(name=name, store=store, features=features, benchmark=benchmark, steps=steps))
    twice = [name for name, count in Counter(dataset.name for dataset in datasets).items() if count > 1]
    if twice:
        raise InputError(
            f"two stores would share the name {twice[0]!r}; rename a folder, or give each its own --out"
        )
    return tuple(datasets)
