"""Accuracy against what it costs: bytes kept from step to step, and seconds of training.

frontier.csv    a row a table row and modality: means over its runs; `seconds` of training are shown, those of
                learning alone, without reading clips and choosing the epoch, stand beside them
frontier.svg    two panels a dataset; methods at several memory sizes are joined by a line; what nothing beats at
frontier.png    no more cost lies on the dotted line
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avcil.experiments.entries import UPPER_BOUND
from avcil.experiments.footprint import kept_bytes
from avcil.experiments.plan import Plan
from avcil.experiments.results import Figures, Group
from avcil.runs.groups import Spread
from avcil.training.timer import LEARNING
from avcil.utils.files import write_atomically, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC, METRIC_NAME = "last_accuracy", "accuracy after the last step, %"
COSTS = {"bytes": ("kept from step to step, MB", 1e6), "seconds": ("training, seconds", 1.0)}
"""What a panel shows along, and its unit."""
PALETTE = (
    *("#0b6e99", "#e07a1f", "#2e933c", "#d1495b", "#6a4c93", "#8c5a3c"),
    *("#c2a300", "#12908e", "#b5467c", "#4f5d75", "#7fb800", "#1b1b3a"),
)
CLOSED_FORM = "*"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of a table in one modality."""

    dataset: str
    row: str
    entry: str
    modality: str
    accuracy: Spread
    """Of `METRIC`, a fraction."""
    bytes: float
    exemplars: float
    teacher: float
    statistics: float
    seconds: float
    learning: float | None
    """Of the seconds; None for runs of a version that did not tell them apart."""

    @property
    def is_upper_bound(self) -> bool:
        """Joint training, which keeps every clip."""
        return self.entry == UPPER_BOUND

    def cost(self, name: str) -> float:
        """By the name of `COSTS`."""
        return float(getattr(self, name))


def points(plan: Plan, figures: Sequence[Figures]) -> list[Point]:
    """Of all rows with a finished run."""
    return [_point(plan, each.dataset, group) for each in figures for group in each.groups if group.runs]


def _point(plan: Plan, dataset: str, group: Group) -> Point:
    kept = [kept_bytes(run.run.config.out, plan.store_of(run.run)) for run in group.runs]
    accuracy = group.spread(METRIC)
    assert accuracy is not None
    return Point(
        dataset=dataset,
        row=group.row,
        entry=group.entry,
        modality=group.modality,
        accuracy=accuracy,
        bytes=float(np.mean([each.total for each in kept])),
        exemplars=float(np.mean([each.exemplars for each in kept])),
        teacher=float(np.mean([each.teacher for each in kept])),
        statistics=float(np.mean([each.statistics for each in kept])),
        seconds=float(np.mean([run.results.seconds for run in group.runs])),
        learning=_learning([run.results.seconds_by_part for run in group.runs]),
    )


def _learning(parts: Sequence[Mapping[str, float]]) -> float | None:
    return float(np.mean([part[LEARNING] for part in parts])) if all(parts) else None


def pareto_front(found: Sequence[Point], cost: str) -> list[Point]:
    """The points that no other equals or beats at no more cost, cheapest first; the upper bound is no rival."""
    best, kept = -1.0, []
    rivals = [point for point in found if not point.is_upper_bound]
    for point in sorted(rivals, key=lambda point: (point.cost(cost), -point.accuracy.mean)):
        if point.accuracy.mean > best:
            best = point.accuracy.mean
            kept.append(point)
    return kept


def write_frontier(plan: Plan, figures: Sequence[Figures], out: Path) -> str:
    """Write the three files into `out`; the picture as SVG text."""
    found = points(plan, figures)
    write_text(out / "frontier.csv", _csv(found))
    return _draw(found, out)


def _csv(found: Sequence[Point]) -> str:
    header = [
        "dataset",
        "row",
        "modality",
        METRIC,
        "std",
        "runs",
        "bytes",
        "exemplars",
        "teacher",
        "statistics",
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "seconds", "seconds_learning"])
    for point in found:
        spread = point.accuracy
        std = "" if spread.std is None else spread.std
        named = [point.dataset, point.row, point.modality, spread.mean, std, spread.n]
        costs = [round(point.cost(name)) for name in ("bytes", "exemplars", "teacher", "statistics")]
        learning = "" if point.learning is None else point.learning
        writer.writerow([*named, *costs, point.seconds, learning])
    return text.getvalue()


def _draw(found: Sequence[Point], out: Path) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((point.dataset, point.modality) for point in found))
    with rc_context(
        {
            "font.size": 10,
            "svg.fonttype": "none",
            "svg.hashsalt": "avcil",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        figure = Figure(figsize=(11, 4.4 * len(panels)), layout="constrained")
        grid = figure.subplots(len(panels), 2, squeeze=False, sharey="row")
        for axes, (dataset, modality) in zip(grid, panels, strict=True):
            own = [point for point in found if (point.dataset, point.modality) == (dataset, modality)]
            for ax, cost in zip(axes, COSTS, strict=True):
                _panel(ax, own, cost)
            axes[0].set_ylabel(METRIC_NAME)
            axes[0].set_title(f"{dataset}, {modality}", loc="left", fontweight="bold")
        _legend(figure, grid[0][0])
        write_atomically(
            out / "frontier.png", lambda file: figure.savefig(file, format="png", dpi=150, metadata=_PLAIN)
        )
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    write_text(out / "frontier.svg", svg.getvalue())
    return svg.getvalue()


_PLAIN: dict[str, Any] = {"Software": None}


def _panel(ax: Axes, own: Sequence[Point], cost: str) -> None:
    name, unit = COSTS[cost]
    nothing = min((point.cost(cost) for point in own if point.cost(cost)), default=unit) / unit / 4
    place = {id(point): point.cost(cost) / unit or nothing for point in own}
    entries = list(dict.fromkeys(point.entry for point in own))
    for number, entry in enumerate(entries):
        members = [point for point in own if point.entry == entry]
        _curve(ax, members, [place[id(point)] for point in members], PALETTE[number % len(PALETTE)])
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    if any(not point.cost(cost) for point in own):
        _zero(ax, nothing)
    best = pareto_front(own, cost)
    x, y = [place[id(point)] for point in best], [100 * point.accuracy.mean for point in best]
    if best:
        ax.step([*x, ax.get_xlim()[1]], [*y, y[-1]], where="post", color="#222222", linestyle=":", zorder=0)
    ax.set_xlabel(name)
    ax.grid(visible=True, color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)


def _zero(ax: Axes, at: float) -> None:
    """A logarithm has no zero: it stands at the left, where the axis is broken."""
    text = partial(ax.text, transform=ax.get_xaxis_transform(), ha="center", va="center")
    text(at, -0.045, "0")
    text(2 * at, 0, "//", bbox={"facecolor": "white", "lw": 0, "pad": 0.6})
    low, high = ax.get_xlim()
    for minor in (False, True):
        ax.set_xticks([x for x in ax.get_xticks(minor=minor) if 3 * at < x <= high], minor=minor)
    ax.set_xlim(low, high)


def _curve(ax: Axes, members: Sequence[Point], x: Sequence[float], color: str) -> None:
    """One method: its points, joined, with their deviations."""
    order = np.argsort([point.bytes for point in members], kind="stable")  # by memory size in both panels
    in_closed_form, is_bound = members[0].statistics > 0, members[0].is_upper_bound
    ax.errorbar(
        np.asarray(x)[order],
        [100 * members[i].accuracy.mean for i in order],
        yerr=[100 * (members[i].accuracy.std or 0.0) for i in order],
        color="#777777" if is_bound else color,
        marker=CLOSED_FORM if in_closed_form else "D" if is_bound else "o",
        markersize=13 if in_closed_form else 6,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
        label=members[0].entry,
    )


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
