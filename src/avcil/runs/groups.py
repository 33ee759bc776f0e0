"""Groups of runs that differ only in the seed. Their metrics are reported as mean and standard deviation.

All other settings must be equal, so that different settings are never averaged into one number. Groups of the same
method and modality are distinguished by the settings in which they differ.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avcil.runs.run_files import RunRecord

_IGNORED_SETTINGS = frozenset({"seed", "out", "features.path", "device", "threads", "checkpoint_seconds"})
"""Settings that do not make another experiment: the seed, and where and on what hardware it ran."""


@dataclass(frozen=True, kw_only=True)
class MeanStd:
    """A metric over the n runs of a group."""

    mean: float
    std: float | None
    """Sample standard deviation (divisor n - 1); None for a single run."""
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanStd:
        """Mean and standard deviation of one value or more."""
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(mean=float(np.mean(values)), std=std, n=len(values))


@dataclass(frozen=True, kw_only=True, eq=False)
class RunGroup:
    """Runs of one experiment with different seeds."""

    runs: tuple[RunRecord, ...]
    difference: str
    """The settings that distinguish it from other groups of its method and modality; often empty."""

    @property
    def method(self) -> str:
        return self.runs[0].method

    @property
    def modality(self) -> str:
        return self.runs[0].modality

    @property
    def label(self) -> str:
        """Method, modality and distinguishing settings, as text."""
        return ", ".join(part for part in (self.method, self.modality, self.difference) if part)

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    @property
    def steps(self) -> int:
        """Number of steps of each run."""
        return len(self.runs[0].steps)

    def mean_std(self, metric: str) -> MeanStd | None:
        """Mean and standard deviation of a property of `RunRecord`; None if it is undefined for a run."""
        values = [getattr(run, metric) for run in self.runs]
        return None if None in values else MeanStd.of(values)

    @property
    def accuracy_per_step(self) -> list[MeanStd]:
        """Accuracy on all classes seen, after each step."""
        return [
            MeanStd.of(values) for values in zip(*(run.accuracy_per_step for run in self.runs), strict=True)
        ]


_STREAM_SETTINGS = ("benchmark.", "epochs", "batch_size", "exemplar_batch_size", "selection")
"""Settings that can differ because the streams do."""


def group_runs(runs: Sequence[RunRecord]) -> list[RunGroup]:
    """Group runs whose settings differ only in the seed. Groups are in the order of their first run, runs by seed."""
    settings: dict[str, dict[str, str]] = {}
    members: dict[str, list[RunRecord]] = {}
    for run in runs:
        flat = {"stream": "class-incremental"} | dict(_flatten(run.config.to_dict()))
        key = json.dumps([flat, (run.config.stream or {}).get("fingerprint")], sort_keys=True)
        settings[key] = flat
        members.setdefault(key, []).append(run)
    return [
        RunGroup(
            runs=tuple(sorted(group, key=lambda run: run.seed)),
            difference=_difference(settings[key], settings.values()),
        )
        for key, group in members.items()
    ]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values of a nested configuration, without the ignored settings."""
    for name, part in value.items():
        path = f"{prefix}{name}"
        if path in _IGNORED_SETTINGS:
            continue
        if path == "stream":
            yield path, _stream_text(part)
        elif isinstance(part, Mapping):
            yield from _flatten(part, f"{path}.")
        else:
            yield path, part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)


def _difference(settings: Mapping[str, str], groups: Collection[Mapping[str, str]]) -> str:
    """The settings, as text, in which a group differs from others of its method and modality."""
    others = [
        other
        for other in groups
        if all(other.get(name) == settings.get(name) for name in ("method", "modality"))
    ]
    names = [name for name in settings if any(other.get(name) != settings[name] for other in others)]
    if "stream" in names:  # which prescribes these
        names = [name for name in names if not name.startswith(_STREAM_SETTINGS)]
    return ", ".join(_setting(name, settings[name]) for name in names)


def _stream_text(stream: Mapping[str, Any]) -> str:
    """Name and options, such as "few-shot, ways 4, shots 3"."""
    return ", ".join([stream["name"], *(f"{name} {value}" for name, value in stream["options"].items())])


def _setting(name: str, value: str) -> str:
    if name == "stream":
        return value
    if name == "benchmark.steps":
        return f"{len(json.loads(value))} steps"
    short = name.rsplit(".", 1)[-1].replace("_", " ")
    return f"{short} {value if len(value) <= 24 else value[:11] + '…'}"
