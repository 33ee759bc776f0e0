"""The datasets of a table: feature stores, and how their classes are divided into steps."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from avcil.data.modality import Modality
from avcil.datasets.protocols import protocol
from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.features import FeatureStore
from avcil.streams.registry import StreamSpec, parse_stream
from avcil.training.resolve import published_benchmark


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A feature store, the source of its steps, and the order in which its clips arrive."""

    name: str
    store: FeatureStore
    features: Path
    benchmark: str | None
    """The published benchmark."""
    steps: Path | None
    """A file with the classes of each step."""
    stream: StreamSpec

    @property
    def classes(self) -> int:
        """Number of classes."""
        if self.benchmark is not None:
            return protocol(self.benchmark).classes
        return len({clip.label for clip in self.store.clips})

    @property
    def modalities(self) -> set[Modality]:
        """Modalities for which the store has the features."""
        arrays = self.store.manifest.arrays()
        return {modality for modality in Modality if arrays.keys() >= set(modality.parts)}

    @property
    def missing_clips(self) -> str:
        """A note on clips of the published benchmark that the store lacks; empty if it has all."""
        if self.benchmark is None:
            return ""
        clips = published_benchmark(self.benchmark).clips
        missing = len(clips.keys() - {clip.clip_id for clip in self.store.clips})
        if not missing:
            return ""
        return (
            f"The store lacks {missing} of the {len(clips)} clips of {self.benchmark}: "
            "results are not comparable with those of the complete benchmark."
        )


def open_datasets(config: ReproduceConfig) -> tuple[Dataset, ...]:
    """Open the feature stores of the command.

    Raises:
        InputError: A folder is not a feature store, a benchmark is unknown, or two stores have the same name.
    """
    datasets = []
    for number, features in enumerate(config.features):
        benchmark = config.benchmark[number] if config.benchmark else None
        if benchmark is not None:
            protocol(benchmark)
        name = benchmark or Path(os.path.abspath(features)).name
        steps = config.steps[number] if config.steps else None
        store = FeatureStore(features)
        for stream in map(parse_stream, config.streams):
            uses_steps = stream.kind.uses_steps
            datasets.append(
                Dataset(
                    name=name if stream.is_default else f"{name}-{slug(stream.short_text)}",
                    store=store,
                    features=features,
                    benchmark=benchmark,
                    steps=steps if uses_steps else None,
                    stream=stream,
                )
            )
    twice = [name for name, count in Counter(dataset.name for dataset in datasets).items() if count > 1]
    if twice:
        raise InputError(
            f"two stores have the name {twice[0]!r}; rename a folder, or run two commands with different --out"
        )
    return tuple(datasets)


def slug(text: str) -> str:
    """The text as a part of a folder name.

    >>> slug("few-shot,shots=3"), slug("domain-incremental,file=/tmp/d.csv")
    ('few-shot-shots=3', 'domain-incremental-file=-tmp-d.csv')
    """
    return re.sub(r"[^\w=.]+", "-", text).strip("-.")
