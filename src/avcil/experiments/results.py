"""Results of the finished runs of a plan, by row and modality, read from results.json of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from avcil.experiments.method_specs import UPPER_BOUND
from avcil.experiments.plan import Plan, PlannedRun
from avcil.experiments.significance import PairedTest, holm, paired_test
from avcil.runs.groups import MeanStd
from avcil.runs.records import Results
from avcil.runs.run_directory import RunDirectory

METRICS = {
    "average_incremental_accuracy": "Average incremental accuracy",
    "last_accuracy": "Last accuracy",
    "mean_forgetting": "Mean forgetting",
    "forgetting": "Forgetting",
}
"""Metrics with a table, defined in runs/metrics.py."""
MAIN_METRIC = "average_incremental_accuracy"
_REFERENCE = "av-cil"
"""The row that others are compared with, if it is in the table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A finished run."""

    run: PlannedRun
    results: Results

    @property
    def pair_key(self) -> tuple[int | None, int]:
        """Class order and seed; runs of two rows with the same key are a pair."""
        return self.run.class_order_seed, self.run.seed


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The runs of a table cell, with different seeds and class orders."""

    row: str
    entry: str
    condition: str
    modality: str
    planned: int
    """Number of planned runs."""
    runs: tuple[FinishedRun, ...]

    def mean_std(self, metric: str, step: int | None = None) -> MeanStd | None:
        """Mean and standard deviation of a metric; None if no run is finished or the metric is undefined."""
        values = [_metric(run.results, metric) for run in self.runs]
        if step is not None:
            values = [value[step] for value in values]
        return None if not values or None in values else MeanStd.of(values)

    @property
    def stream_metrics(self) -> list[str]:
        """Names of the metrics of the stream."""
        return list(dict.fromkeys(name for run in self.runs for name in run.results.stream_metrics))

    @property
    def steps(self) -> int:
        """Number of steps of each run; 0 if none is finished."""
        return len(self.runs[0].results.accuracy_per_step) if self.runs else 0


def _metric(results: Results, name: str) -> Any:
    """A metric of a run, or of its stream; None if it is undefined."""
    return getattr(results, name, results.stream_metrics.get(name))


@dataclass(frozen=True, kw_only=True)
class RowComparison:
    """Comparison of two rows."""

    modality: str
    condition: str
    reference: str
    other: str
    test: PairedTest
    adjusted_p: float | None
    """p adjusted by Holm's method for all comparisons of the modality and condition."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetResults:
    """Results of the runs on one dataset."""

    dataset: str
    modalities: tuple[str, ...]
    groups: tuple[Group, ...]
    """In the order of rows, then modalities; cells that cannot be run are absent."""

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(group.row for group in self.groups))

    def group(self, row: str, modality: str) -> Group | None:
        """The runs of a cell."""
        return self._by_cell.get((row, modality))

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str], Group]:
        return {(group.row, group.modality): group for group in self.groups}

    def comparisons(self) -> list[RowComparison]:
        """Compare the reference with each other row of its modality and condition, without the upper bound."""
        compared = []
        for modality in self.modalities:
            for condition in dict.fromkeys(group.condition for group in self.groups):
                groups = [
                    group
                    for group in self.groups
                    if (group.modality, group.condition) == (modality, condition)
                    and group.entry != UPPER_BOUND
                    and group.runs
                ]
                compared += _compare(groups)
        return compared


def _compare(groups: Sequence[Group]) -> list[RowComparison]:
    """The reference is AV-CIL if it is among the groups, else the best (the first in case of a tie)."""
    if len(groups) < 2:
        return []
    best = max(groups, key=lambda group: np.mean([getattr(run.results, MAIN_METRIC) for run in group.runs]))
    reference = next((group for group in groups if group.entry == _REFERENCE), best)
    pairs = [(group, _differences(reference, group)) for group in groups if group is not reference]
    tests = [(group, paired_test(differences)) for group, differences in pairs if differences]
    adjusted = iter(holm([test.p for _, test in tests if test.p is not None]))
    return [
        RowComparison(
            modality=group.modality,
            condition=group.condition,
            reference=reference.row,
            other=group.row,
            test=test,
            adjusted_p=None if test.p is None else next(adjusted),
        )
        for group, test in tests
    ]


def _differences(one: Group, other: Group) -> list[float]:
    """one - other of the main metric, over the pairs of runs with the same seed and class order."""
    values = {run.pair_key: getattr(run.results, MAIN_METRIC) for run in other.runs}
    return [
        getattr(run.results, MAIN_METRIC) - values[run.pair_key] for run in one.runs if run.pair_key in values
    ]


def read_dataset_results(plan: Plan) -> list[DatasetResults]:
    """Results of the finished runs of a plan, by dataset."""
    cells: dict[tuple[str, str, str], list[PlannedRun]] = {}
    for run in plan.runs:
        cells.setdefault((run.dataset, run.row, run.modality), []).append(run)
    rows = list(dict.fromkeys((run.dataset, run.row) for run in plan.runs))
    return [
        DatasetResults(
            dataset=dataset.name,
            modalities=plan.modalities,
            groups=tuple(
                _group(cells[name, row, modality])
                for name, row in rows
                for modality in plan.modalities
                if name == dataset.name and (name, row, modality) in cells
            ),
        )
        for dataset in plan.datasets
    ]


def _group(runs: Sequence[PlannedRun]) -> Group:
    first = runs[0]
    finished = [(run, RunDirectory(run.config.out).results) for run in runs]
    return Group(
        row=first.row,
        entry=first.entry.name,
        condition=first.condition,
        modality=first.modality,
        planned=len(runs),
        runs=tuple(FinishedRun(run=run, results=results) for run, results in finished if results is not None),
    )
