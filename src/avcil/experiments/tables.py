"""Tables of results as rows of texts; render.py formats them.

The same runs give the same tables: nothing depends on time, the machine or the order in which runs finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avcil.experiments.method_specs import UPPER_BOUND
from avcil.experiments.plan import Plan
from avcil.experiments.results import MAIN_METRIC, METRICS, DatasetResults, Group
from avcil.experiments.significance import MAX_EXACT
from avcil.reporting.table import mean_std_text, metric_title

DIGITS = 2
NOTHING = "–"
_LOWER_IS_BETTER = ("mean_forgetting", "forgetting")


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """A table of texts."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    """Number of leading columns with names; the others have numbers."""
    best: frozenset[tuple[int, int]] = frozenset()
    """Cells (row, column) with the best value of a column."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """The tables of one dataset."""

    title: str
    tables: tuple[ResultTable, ...]
    notes: tuple[str, ...]


def make_sections(plan: Plan, results: Sequence[DatasetResults]) -> list[Section]:
    """The tables of each dataset."""
    sections = []
    for each in results:
        tables = (
            *(metric_table(each, metric) for metric in METRICS),
            _stream_table(each),
            step_table(each),
            significance_table(each),
        )
        shown = tuple(table for table in tables if table.rows)
        sections.append(Section(title=each.dataset, tables=shown, notes=tuple(_notes(plan, each))))
    return sections


def metric_table(results: DatasetResults, metric: str) -> ResultTable:
    """Rows by modalities: mean ± standard deviation in percent, with the best of each modality marked."""
    rows, best = [], set()
    for row in results.rows:
        groups = [results.group(row, modality) for modality in results.modalities]
        rows.append((row, *(_cell(group, metric) for group in groups)))
    for column, modality in enumerate(results.modalities, 1):
        values = {}
        for index, row in enumerate(results.rows):
            group = results.group(row, modality)
            value = group.mean_std(metric) if group is not None and group.entry != UPPER_BOUND else None
            if value is not None:
                values[index] = round(100 * value.mean, DIGITS)  # as shown, so that equal texts are both best
        if len(values) > 1:
            target = min(values.values()) if metric in _LOWER_IS_BETTER else max(values.values())
            best |= {(index, column) for index, value in values.items() if value == target}
    return ResultTable(
        title=f"{METRICS[metric]} (%)",
        header=("method", *results.modalities),
        rows=tuple(rows),
        best=frozenset(best),
    )


def _cell(group: Group | None, metric: str) -> str:
    """Mean ± standard deviation, and the number of finished runs if some are not finished."""
    if group is None:
        return NOTHING
    if not group.runs:
        return "not finished"
    finished = "" if len(group.runs) == group.planned else f" ({len(group.runs)} of {group.planned} runs)"
    return mean_std_text(group.mean_std(metric), DIGITS) + finished


def _stream_table(results: DatasetResults) -> ResultTable:
    """The metrics of the stream; one row per table row and modality. No rows if it has none."""
    names = list(dict.fromkeys(name for group in results.groups for name in group.stream_metrics))
    rows = []
    for group in results.groups if names else ():
        cells = []
        for name in names:
            value = group.mean_std(name)
            is_distance = name == "score_distance"
            cells.append(f"{value.mean:.1g}" if value and is_distance else mean_std_text(value, DIGITS))
        rows.append((group.row, group.modality, *cells))
    return ResultTable(
        title="Metrics of the stream (%)",
        header=("method", "modality", *(metric_title(name) for name in names)),
        rows=tuple(rows),
        names=2,
    )


def step_table(results: DatasetResults) -> ResultTable:
    """Accuracy on all classes seen after each step; one row per table row and modality."""
    steps = max(group.steps for group in results.groups)
    rows = []
    for group in results.groups:
        cells = [
            mean_std_text(group.mean_std("accuracy_per_step", step), DIGITS) if step < group.steps else ""
            for step in range(steps)
        ]
        rows.append((group.row, group.modality, *cells))
    return ResultTable(
        title="Accuracy after each step on all classes seen (%)",
        header=("method", "modality", *(f"step {step + 1}" for step in range(steps))),
        rows=tuple(rows) if steps else (),
        names=2,
    )


def significance_table(results: DatasetResults) -> ResultTable:
    """Comparisons of the reference with the other rows."""
    rows = []
    for comparison in results.comparisons():
        test, interval = comparison.test, NOTHING
        if test.low is not None and test.high is not None:
            interval = f"{_signed(test.low)} to {_signed(test.high)}"
        names = (f"{comparison.reference} – {comparison.other}", comparison.modality)
        p_values = (_p(test.p), _p(comparison.adjusted_p))
        rows.append((*names, str(test.n), _signed(test.mean), interval, *p_values, test.test))
    return ResultTable(
        title=f"Differences of {METRICS[MAIN_METRIC].lower()} in percentage points, paired over runs",
        header=("difference", "modality", "n", "mean", "95 % interval", "p", "p (Holm)", "test"),
        rows=tuple(rows),
        names=2,
    )


def _signed(value: float) -> str:
    """A difference in percentage points; +0.00 instead of -0.00."""
    return f"{round(100 * value, DIGITS) + 0.0:+.{DIGITS}f}"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _notes(plan: Plan, results: DatasetResults) -> list[str]:
    runs = [run for run in plan.runs if run.dataset == results.dataset]
    seeds = list(dict.fromkeys(run.seed for run in runs))
    orders = [order for order in dict.fromkeys(run.class_order_seed for run in runs) if order is not None]
    seeds_text = f"seed{'s' if len(seeds) > 1 else ''} " + ", ".join(map(str, seeds))
    seeds_text += f"; class orders {', '.join(map(str, orders))}" if orders else ""
    count = len(seeds) * max(1, len(orders))
    notes = [f"Mean ± sample standard deviation over {count} runs ({seeds_text})."]
    if count == 1:
        notes = [
            f"One run of each ({seeds_text}): a single run cannot separate seed noise from a real difference. Give "
            "more --seeds."
        ]
    if any(results.comparisons()):
        notes.append(
            f"p: two-sided, exact sign-flip test for up to {MAX_EXACT} pairs (minimum 2/2^n), else paired t-test; "
            "interval: Student's t; p (Holm): adjusted for the rows compared within a modality."
        )
    finished = sum(len(group.runs) for group in results.groups)
    if finished < len(runs):
        notes.append(f"Not complete: {finished} of {len(runs)} runs are finished.")
    for dataset in plan.datasets:
        if dataset.name == results.dataset and dataset.missing_clips:
            notes.append(dataset.missing_clips)
    notes += [f"{note}." for note in plan.notes_on(results.dataset)]
    return notes + [f"Left out: {reason}." for reason in plan.left_out_of(results.dataset)]
