"""Runs that differ in nothing but the seed belong together: their figures are a mean and a deviation.

Everything else of the configuration must be equal, so that two settings are never averaged into one number;
groups of one method and modality are told apart by the settings in which they differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avcil.runs import metrics
from avcil.runs.run_files import RunRecord

NO_SETTING = frozenset({"seed", "out", "features.path", "device", "threads", "checkpoint_seconds"})
"""Parts of a configuration that do not make another experiment: the seed, and where and on what it ran."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over the n runs of a group."""

    mean: float
    std: float | None
    """Sample standard deviation (divisor n - 1); None for a single run."""
    n: int


@dataclass(frozen=True, kw_only=True, eq=False)
class RunGroup:
    """Runs of one experiment, a seed each."""

    runs: tuple[RunRecord, ...]
    difference: str
    """The settings that tell it from other groups of its method and modality; often empty."""

    @property
    def method(self) -> str:
        return self.runs[0].method

    @property
    def modality(self) -> str:
        return self.runs[0].modality

    @property
    def label(self) -> str:
        """Method, modality and what else tells it apart, for people."""
        return ", ".join(part for part in (self.method, self.modality, self.difference) if part)

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    @property
    def steps(self) -> int:
        """How many steps its runs have."""
        return len(self.runs[0].steps)

    def spread(self, figure: Callable[[RunRecord], float | None]) -> Spread | None:
        """Mean and deviation of a run's figure over the group; None where it is undefined."""
        values = [value for run in self.runs if (value := figure(run)) is not None]
        if len(values) < len(self.runs):
            return None
        return _spread(values)

    @property
    def accuracy_per_step(self) -> list[Spread]:
        """Accuracy after each step over all classes seen."""
        return [_spread([run.accuracy_per_step[s] for run in self.runs]) for s in range(self.steps)]


def _spread(values: Sequence[float]) -> Spread:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(mean=float(np.mean(values)), std=std, n=len(values))


def average(run: RunRecord) -> float:
    """`average_incremental_accuracy` of a run."""
    return metrics.average_incremental_accuracy(run.R, run.n)


def last(run: RunRecord) -> float:
    """`last_accuracy` of a run."""
    return metrics.last_accuracy(run.R, run.n)


def mean_forgetting(run: RunRecord) -> float | None:
    """`mean_forgetting` of a run; None with one step."""
    return metrics.mean_forgetting(run.R)


def group_runs(runs: Sequence[RunRecord]) -> list[RunGroup]:
    """Group runs by configuration but the seed; groups in the order of their first run, runs by seed."""
    settings: dict[str, dict[str, str]] = {}
    members: dict[str, list[RunRecord]] = {}
    for run in runs:
        flat = dict(_flat(run.config.to_dict()))
        key = json.dumps(flat, sort_keys=True)
        settings[key] = flat
        members.setdefault(key, []).append(run)
    return [
        RunGroup(
            runs=tuple(sorted(group, key=lambda run: run.seed)),
            difference=_difference(key, settings),
        )
        for key, group in members.items()
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, part in value.items():
        path = f"{prefix}{name}"
        if path in NO_SETTING:
            continue
        if isinstance(part, Mapping):
            yield from _flat(part, f"{path}.")
        else:
            yield path, part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)


def _difference(key: str, settings: Mapping[str, Mapping[str, str]]) -> str:
    """The settings, in words, by which one group differs from others of its method and modality."""
    mine = settings[key]
    rivals = [
        other
        for other in settings.values()
        if other is not mine and all(other.get(name) == mine.get(name) for name in ("method", "modality"))
    ]
    names = [name for name in mine if any(other.get(name) != mine[name] for other in rivals)]
    return ", ".join(_setting(name, mine[name]) for name in names)


def _setting(name: str, value: str) -> str:
    short = name.rsplit(".", 1)[-1].replace("_", " ")
    if name == "benchmark.steps":
        return f"{len(json.loads(value))} steps"
    return f"{short} {value if len(value) <= 24 else value[:11] + '…'}"
