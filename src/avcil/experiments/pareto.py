"""Accuracy against cost: bytes stored between steps, and training time.

frontier.csv    one row per table row and modality, means over runs; `seconds` is the training time,
                `seconds_learning` is without reading clips and validation
frontier.svg    two panels per dataset and modality; a line connects numbers of exemplars of a method; the dotted
frontier.png    line is the Pareto front
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avcil.experiments.footprint import footprint
from avcil.experiments.method_specs import UPPER_BOUND
from avcil.experiments.plan import Plan
from avcil.experiments.results import DatasetResults, Group
from avcil.runs.groups import MeanStd
from avcil.training.timer import LEARNING
from avcil.utils.csv_files import write_csv
from avcil.utils.files import write_atomically, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC, _METRIC_NAME = "last_accuracy", "accuracy after the last step, %"
COSTS = {"bytes": ("stored between steps, MB", 1e6), "seconds": ("training, seconds", 1.0)}
"""Label of the x axis, and its unit."""
_PALETTE = (
    *("#0b6e99", "#e07a1f", "#2e933c", "#d1495b", "#6a4c93", "#8c5a3c"),
    *("#c2a300", "#12908e", "#b5467c", "#4f5d75", "#7fb800", "#1b1b3a"),
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """Accuracy and cost of a table row in one modality, means over its runs."""

    dataset: str
    row: str
    entry: str
    condition: str
    """Number of exemplars and of classes per step, if several are compared; as in `Group`."""
    modality: str
    accuracy: MeanStd
    """Of `METRIC`, a fraction."""
    bytes: float
    exemplars: float
    teacher: float
    statistics: float
    seconds: float
    learning: float | None
    """Part of the seconds; None for runs of avcil versions that did not record it."""

    @property
    def is_upper_bound(self) -> bool:
        """Whether it is joint training."""
        return self.entry == UPPER_BOUND

    def cost(self, name: str) -> float:
        """One of `COSTS`."""
        return float(getattr(self, name))


def points_of(plan: Plan, datasets: Sequence[DatasetResults]) -> list[Point]:
    """The points of all table cells with a finished run."""
    return [_point(plan, each.dataset, group) for each in datasets for group in each.groups if group.runs]


def _point(plan: Plan, dataset: str, group: Group) -> Point:
    accuracy = group.mean_std(METRIC)
    assert accuracy is not None
    footprints = [footprint(run.run.config.out, plan.store_of(run.run)) for run in group.runs]
    names = ("exemplars", "teacher", "statistics")
    sizes = {name: float(np.mean([getattr(each, name) for each in footprints])) for name in names}
    parts = [run.results.seconds_by_part for run in group.runs]
    return Point(
        dataset=dataset,
        row=group.row,
        entry=group.entry,
        condition=group.condition,
        modality=group.modality,
        accuracy=accuracy,
        bytes=float(np.mean([each.total for each in footprints])),
        **sizes,
        seconds=float(np.mean([run.results.seconds for run in group.runs])),
        learning=float(np.mean([part[LEARNING] for part in parts])) if all(parts) else None,
    )


def pareto_front(points: Sequence[Point], cost: str) -> list[Point]:
    """The points that are more accurate than all points of at most their cost, without the upper bound."""
    best, front = -1.0, []
    candidates = [point for point in points if not point.is_upper_bound]
    for point in sorted(candidates, key=lambda point: (point.cost(cost), -point.accuracy.mean)):
        if point.accuracy.mean > best:
            best = point.accuracy.mean
            front.append(point)
    return front


def write_frontier(plan: Plan, datasets: Sequence[DatasetResults], out: Path) -> str:
    """Write the three files into `out` and return the SVG text."""
    points = points_of(plan, datasets)
    _write_csv(points, out / "frontier.csv")
    return _draw(points, out)


def _write_csv(points: Sequence[Point], path: Path) -> None:
    sizes = ("bytes", "exemplars", "teacher", "statistics")
    header = ["dataset", "row", "modality", METRIC, "std", "runs", *sizes, "seconds", "seconds_learning"]
    rows = []
    for point in points:
        std = "" if point.accuracy.std is None else point.accuracy.std
        names = [point.dataset, point.row, point.modality, point.accuracy.mean, std, point.accuracy.n]
        learning = "" if point.learning is None else point.learning
        rows.append([*names, *(round(point.cost(name)) for name in sizes), point.seconds, learning])
    write_csv(path, header, rows)


def _draw(points: Sequence[Point], out: Path) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = list(dict.fromkeys((point.dataset, point.modality) for point in points))
    with rc_context(
        {
            "font.size": 10,
            "svg.fonttype": "none",
            "svg.hashsalt": "avcil",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        figure = Figure(figsize=(11, 4.4 * len(panels)), layout=ConstrainedLayoutEngine(h_pad=0.12))
        grid = figure.subplots(len(panels), 2, squeeze=False, sharey="row")
        for axes, (dataset, modality) in zip(grid, panels, strict=True):
            shown = [point for point in points if (point.dataset, point.modality) == (dataset, modality)]
            for ax, cost in zip(axes, COSTS, strict=True):
                _panel(ax, shown, cost)
            axes[0].set_ylabel(_METRIC_NAME)
            axes[0].set_title(f"{dataset}, {modality}", loc="left", fontweight="bold")
        _legend(figure, grid[0][0])
        metadata: dict[str, Any] = {"Software": None}
        write_atomically(
            out / "frontier.png", lambda file: figure.savefig(file, format="png", dpi=150, metadata=metadata)
        )
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    write_text(out / "frontier.svg", svg.getvalue())
    return svg.getvalue()


def _panel(ax: Axes, points: Sequence[Point], cost: str) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    name, unit = COSTS[cost]
    zero = min((point.cost(cost) for point in points if point.cost(cost)), default=unit) / unit / 4
    x_of = {id(point): point.cost(cost) / unit or zero for point in points}
    entries = list(dict.fromkeys(point.entry for point in points))
    for number, entry in enumerate(entries):
        members = [point for point in points if point.entry == entry]
        _curve(ax, members, [x_of[id(point)] for point in members], _PALETTE[number % len(_PALETTE)])
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    steps = LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,))
    ax.xaxis.set_major_locator(MaxNLocator(6) if high < 4 * low else steps)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())  # the default labels ticks of a short axis as powers of 10
    if any(not point.cost(cost) for point in points):
        _mark_zero(ax, zero)
    front = pareto_front(points, cost)
    x, y = [x_of[id(point)] for point in front], [100 * point.accuracy.mean for point in front]
    if front:
        ax.step([*x, ax.get_xlim()[1]], [*y, y[-1]], where="post", color="#222222", linestyle=":", zorder=0)
    ax.set_xlabel(name)
    ax.grid(visible=True, color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)


def _mark_zero(ax: Axes, at: float) -> None:
    """Label the position for zero, which a logarithmic axis does not have, and mark the axis as broken."""
    text = partial(ax.text, transform=ax.get_xaxis_transform(), ha="center", va="center")
    text(at, -0.045, "0")
    text(2 * at, 0, "//", bbox={"facecolor": "white", "lw": 0, "pad": 0.6})
    low, high = ax.get_xlim()
    for minor in (False, True):
        ax.set_xticks([x for x in ax.get_xticks(minor=minor) if 3 * at < x <= high], minor=minor)
    ax.set_xlim(low, high)


def _curve(ax: Axes, members: Sequence[Point], x: Sequence[float], color: str) -> None:
    """The connected points of one method, with standard deviations."""
    order = np.argsort([point.bytes for point in members], kind="stable")  # by stored bytes in both panels
    is_closed_form, is_bound = members[0].statistics > 0, members[0].is_upper_bound
    ax.errorbar(
        np.asarray(x)[order],
        [100 * members[i].accuracy.mean for i in order],
        yerr=[100 * (members[i].accuracy.std or 0.0) for i in order],
        color="#777777" if is_bound else color,
        marker="*" if is_closed_form else "D" if is_bound else "o",
        markersize=13 if is_closed_form else 6,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
        label=members[0].entry,
    )


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
