"""The figures of a reproduction: what its finished runs came to, by row and modality.

Read from each run's results.json alone, so that they are the same whoever ran the runs or stopped them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avcil.experiments.entries import UPPER_BOUND
from avcil.experiments.plan import Plan, PlannedRun
from avcil.experiments.significance import Comparison, compare, holm
from avcil.runs.groups import Spread
from avcil.runs.records import Results
from avcil.runs.run_directory import RunDirectory

METRICS = {
    "average_incremental_accuracy": "Average incremental accuracy",
    "last_accuracy": "Last accuracy",
    "mean_forgetting": "Mean forgetting",
    "forgetting": "Forgetting",
}
"""Metrics with a table of their own, as docs and runs/metrics.py define them."""
MAIN_METRIC = "average_incremental_accuracy"
REFERENCE = "av-cil"
"""The row that others are compared with, where it is in the table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A finished run."""

    run: PlannedRun
    results: Results

    @property
    def pair(self) -> tuple[int | None, int]:
        """What it shares with a run of another row."""
        return self.run.class_order_seed, self.run.seed


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The runs of a row in one modality: seeds and class orders."""

    row: str
    entry: str
    condition: str
    modality: str
    planned: int
    runs: tuple[Measured, ...]

    def spread(self, metric: str, step: int | None = None) -> Spread | None:
        """Mean and sample deviation; None where no run is finished or the metric is undefined."""
        found = [getattr(run.results, metric) for run in self.runs]
        values = found if step is None else [value[step] for value in found]
        if not values or None in values:
            return None
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return Spread(mean=float(np.mean(values)), std=std, n=len(values))

    @property
    def steps(self) -> int:
        """How many steps its runs have; 0 before any is finished."""
        return len(self.runs[0].results.accuracy_per_step) if self.runs else 0


@dataclass(frozen=True, kw_only=True)
class PairwiseTest:
    """One row against another."""

    modality: str
    condition: str
    reference: str
    other: str
    comparison: Comparison
    adjusted_p: float | None
    """p adjusted by Holm's method for all rows that the reference is compared with here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """Everything measured on one dataset."""

    dataset: str
    modalities: tuple[str, ...]
    groups: tuple[Group, ...]
    """In the order of rows, then modalities; what cannot be run is absent."""

    @property
    def rows(self) -> list[str]:
        """Names of the rows in order."""
        return list(dict.fromkeys(group.row for group in self.groups))

    def group(self, row: str, modality: str) -> Group | None:
        """The runs of a cell."""
        return self._by_cell.get((row, modality))

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str], Group]:
        return {(group.row, group.modality): group for group in self.groups}

    def versus(self) -> list[PairwiseTest]:
        """The reference against each other row of its modality and condition, the upper bound left aside."""
        found = []
        for modality in self.modalities:
            for condition in dict.fromkeys(group.condition for group in self.groups):
                rivals = [
                    group
                    for group in self.groups
                    if (group.modality, group.condition) == (modality, condition)
                    and group.entry != UPPER_BOUND
                    and group.runs
                ]
                found += _versus(rivals)
        return found


def _versus(rivals: Sequence[Group]) -> list[PairwiseTest]:
    """The reference is AV-CIL, or else the best (the first of equals)."""
    if len(rivals) < 2:
        return []
    named = [group for group in rivals if group.entry == REFERENCE]
    best = max(rivals, key=lambda group: np.mean([getattr(run.results, MAIN_METRIC) for run in group.runs]))
    reference = named[0] if named else best
    others, comparisons = [], []
    for group in rivals:
        differences = _differences(reference, group)
        if group is not reference and differences:
            others.append(group)
            comparisons.append(compare(differences))
    tested = [comparison.p for comparison in comparisons if comparison.p is not None]
    adjusted = iter(holm(tested))
    return [
        PairwiseTest(
            modality=group.modality,
            condition=group.condition,
            reference=reference.row,
            other=group.row,
            comparison=comparison,
            adjusted_p=None if comparison.p is None else next(adjusted),
        )
        for group, comparison in zip(others, comparisons, strict=True)
    ]


def _differences(one: Group, other: Group) -> list[float]:
    """one - other of the main metric, over the seeds and class orders that both have."""
    theirs = {run.pair: getattr(run.results, MAIN_METRIC) for run in other.runs}
    return [getattr(run.results, MAIN_METRIC) - theirs[run.pair] for run in one.runs if run.pair in theirs]


def read_figures(plan: Plan) -> list[Figures]:
    """The figures of all finished runs of a plan, a dataset at a time."""
    cells: dict[tuple[str, str, str], list[PlannedRun]] = {}
    for dataset in plan.datasets:
        own = [run for run in plan.runs if run.dataset == dataset.name]
        for row in dict.fromkeys(run.row for run in own):
            for modality in plan.modalities:
                members = [run for run in own if (run.row, run.modality) == (row, modality)]
                if members:
                    cells[dataset.name, row, modality] = members
    return [
        Figures(
            dataset=dataset.name,
            modalities=plan.modalities,
            groups=tuple(_group(runs) for (name, *_), runs in cells.items() if name == dataset.name),
        )
        for dataset in plan.datasets
    ]


def _group(runs: Sequence[PlannedRun]) -> Group:
    first = runs[0]
    found = [(run, RunDirectory(run.config.out).results) for run in runs]
    measured = [Measured(run=run, results=results) for run, results in found if results is not None]
    return Group(
        row=first.row,
        entry=first.entry.name,
        condition=first.condition,
        modality=first.modality,
        planned=len(runs),
        runs=tuple(measured),
    )
