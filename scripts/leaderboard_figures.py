"""Figures of docs/leaderboard.md. The best methods and AV-CIL have colors and names, the others are gray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from avcil.experiments.pareto import Point, pareto_front
from avcil.experiments.results import DatasetResults, Group

NAMED = 9
"""Number of methods with a color of their own, besides AV-CIL."""

matplotlib.rcParams["svg.hashsalt"] = "avcil"  # the same file for the same results


def draw_curves(results: DatasetResults, path: Path) -> None:
    """Accuracy after each step, a line for each method."""
    groups = [group for group in results.groups if group.runs]
    groups.sort(key=lambda group: -_accuracy(group, group.steps - 1))
    styles = _styles([group.row for group in groups])
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for group in reversed(groups):  # the named lines on top
        steps = range(1, group.steps + 1)
        values = [100 * _accuracy(group, step) for step in range(group.steps)]
        axes.plot(steps, values, marker="o", markersize=2.5, **styles[group.row])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="step", ylabel="accuracy on the classes seen (%)", ylim=(0, 101))
    _save(figure, axes, styles, path)


def draw_costs(points: Sequence[Point], path: Path) -> None:
    """Accuracy after the last step against stored bytes; a line connects the numbers of exemplars of a method."""
    best: dict[str, float] = {}
    for point in points:
        best[point.entry] = max(best.get(point.entry, 0.0), point.accuracy.mean)
    styles = _styles(sorted(best, key=lambda entry: -best[entry]))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for entry in reversed(styles):
        own = sorted((point for point in points if point.entry == entry and point.bytes), key=_kilobytes)
        values = [100 * point.accuracy.mean for point in own]
        axes.plot([_kilobytes(point) for point in own], values, marker="o", markersize=3.5, **styles[entry])
    front = [point for point in pareto_front(points, "bytes") if point.bytes]
    axes.step(
        [_kilobytes(point) for point in front],
        [100 * point.accuracy.mean for point in front],
        where="post",
        color="black",
        linestyle=":",
        zorder=0,
    )
    axes.set_xscale("log")
    axes.set(xlabel="kB stored between steps", ylabel="accuracy after the last step (%)")
    _save(figure, axes, styles, path)


def _kilobytes(point: Point) -> float:
    return point.bytes / 1000


def _accuracy(group: Group, step: int) -> float:
    value = group.mean_std("accuracy_per_step", step)
    return 0.0 if value is None else value.mean


def _styles(ranked: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Color and width of the line of each method, from the best to the worst."""
    named = [*ranked[:NAMED], *(name for name in ranked[NAMED:] if name.startswith("av-cil"))]
    gray = {"color": "0.8", "linewidth": 0.8}
    return {
        name: {"color": f"C{named.index(name)}", "linewidth": 1.6} if name in named else gray
        for name in ranked
    }


def _save(figure: Any, axes: Any, styles: dict[str, dict[str, Any]], path: Path) -> None:
    handles = [
        Line2D([], [], color=style["color"], marker="o", markersize=3, label=name)
        for name, style in styles.items()
        if style["color"] != "0.8"
    ]
    axes.legend(handles=handles, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
