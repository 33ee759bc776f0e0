"""From figures to tables, as plain words in rows and columns; render.py gives them their form.

Nothing here depends on time, the machine or the order in which runs ended: the same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avcil.experiments.entries import UPPER_BOUND
from avcil.experiments.plan import Plan
from avcil.experiments.results import MAIN_METRIC, METRICS, Figures, Group
from avcil.reporting.table import percent
from avcil.runs.groups import Spread

DIGITS = 2
NOTHING = "–"
LOWER_IS_BETTER = ("mean_forgetting", "forgetting")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for people."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    """How many first columns hold names; the others hold figures."""
    best: frozenset[tuple[int, int]] = frozenset()
    """Cells (row, column) to stand out: the best of a column."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """The tables of one dataset."""

    title: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]


def make_sections(plan: Plan, figures: Sequence[Figures]) -> list[Section]:
    """All tables of a reproduction."""
    return [
        Section(
            title=each.dataset,
            tables=tuple(
                table
                for table in [
                    *(metric_table(each, metric) for metric in METRICS),
                    step_table(each),
                    significance_table(each),
                ]
                if table.rows
            ),
            notes=tuple(_notes(plan, each)),
        )
        for each in figures
    ]


def metric_table(figures: Figures, metric: str) -> Table:
    """Rows by modalities, mean ± deviation in percent, the best of each modality standing out."""
    title = f"{METRICS[metric]} (%)"
    return cell_table(figures, title, lambda group: group.spread(metric), lower=metric in LOWER_IS_BETTER)


def cell_table(
    figures: Figures, title: str, spread: Callable[[Group], Spread | None], *, lower: bool
) -> Table:
    """Rows by modalities of any figure in fractions."""
    rows, best = [], set()
    for row in figures.rows:
        groups = [figures.group(row, modality) for modality in figures.modalities]
        rows.append((row, *(cell(group, spread) for group in groups)))
    for column, modality in enumerate(figures.modalities, 1):
        values = {}
        for place, row in enumerate(figures.rows):
            group = figures.group(row, modality)
            found = spread(group) if group is not None and group.entry != UPPER_BOUND else None
            if found is not None:
                values[place] = round(100 * found.mean, DIGITS)  # as shown: equal figures are equally good
        if len(values) > 1:
            target = min(values.values()) if lower else max(values.values())
            best |= {(place, column) for place, value in values.items() if value == target}
    return Table(title=title, header=("method", *figures.modalities), rows=tuple(rows), best=frozenset(best))


def cell(group: Group | None, spread: Callable[[Group], Spread | None]) -> str:
    """A figure, with the number of runs behind it where some are lacking."""
    if group is None:
        return NOTHING
    if not group.runs:
        return "not finished"
    found = spread(group)
    lacking = "" if len(group.runs) == group.planned else f" ({len(group.runs)} of {group.planned} runs)"
    return percent(found, DIGITS) + lacking


def step_table(figures: Figures) -> Table:
    """Accuracy after each step over all classes seen; a row for each row and modality."""
    steps = max(group.steps for group in figures.groups)
    rows = []
    for group in figures.groups:
        cells = [
            percent(group.spread("accuracy_per_step", step), DIGITS) if step < group.steps else ""
            for step in range(steps)
        ]
        rows.append((group.row, group.modality, *cells))
    return Table(
        title="Accuracy after each step, over all classes seen (%)",
        header=("method", "modality", *(f"step {step + 1}" for step in range(steps))),
        rows=tuple(rows) if steps else (),
        names=2,
    )


def significance_table(figures: Figures) -> Table:
    """The reference against each other row."""
    rows = []
    for versus in figures.versus():
        found = versus.comparison
        interval = NOTHING
        if found.low is not None and found.high is not None:
            interval = f"{_signed(found.low)} to {_signed(found.high)}"
        rows.append(
            (
                f"{versus.reference} – {versus.other}",
                versus.modality,
                str(found.n),
                _signed(found.mean),
                interval,
                _p(found.p),
                _p(versus.adjusted_p),
                found.test,
            )
        )
    return Table(
        title=f"Differences of {METRICS[MAIN_METRIC].lower()}, in points, paired over runs",
        header=("difference", "modality", "n", "mean", "95 % interval", "p", "p (Holm)", "test"),
        rows=tuple(rows),
        names=2,
    )


def _signed(value: float) -> str:
    """A difference in points, and +0.00 rather than -0.00."""
    return f"{round(100 * value, DIGITS) + 0.0:+.{DIGITS}f}"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _notes(plan: Plan, figures: Figures) -> list[str]:
    own = [run for run in plan.runs if run.dataset == figures.dataset]
    seeds = list(dict.fromkeys(run.seed for run in own))
    orders = [order for order in dict.fromkeys(run.class_order_seed for run in own) if order is not None]
    words = f"seed{'s' if len(seeds) > 1 else ''} " + ", ".join(map(str, seeds))
    words += f"; class orders {', '.join(map(str, orders))}" if orders else ""
    count = len(seeds) * max(1, len(orders))
    notes = [f"Mean ± sample standard deviation over {count} runs ({words})."]
    if count == 1:
        notes = [f"One run of each ({words}): chance is not told from difference. Give more --seeds."]
    if any(figures.versus()):
        notes.append(
            "p: two-sided, exact sign-flip test up to 12 pairs (least possible: 2/2^n), else paired t-test; "
            "interval: Student's t; p (Holm): adjusted for the rows compared within a modality."
        )
    finished = sum(len(group.runs) for group in figures.groups)
    if finished < len(own):
        notes.append(f"Not complete: {finished} of {len(own)} runs are finished.")
    notes += [each.lacking for each in plan.datasets if each.name == figures.dataset and each.lacking]
    notes += [f"{note}." for note in plan.notes_on(figures.dataset)]
    return notes + [f"Left out: {reason}." for reason in plan.left_out_of(figures.dataset)]
