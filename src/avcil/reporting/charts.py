"""Charts of the report: accuracy over steps, curves over epochs, calibration.

Each function returns SVG text. Colors are set in report.css: classes `c0` to `c7` for runs, `accent` and `warm` for
others. Steps are counted from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from avcil.reporting.svg import Plot, escape, nice_ticks, spread_out, svg
from avcil.reporting.table import mean_std_text
from avcil.runs.groups import RunGroup
from avcil.runs.predictions import CalibrationBin

_COLORS = 7
"""Number of line colors, without the neutral one of joint training."""
_DASHES = {"audio-visual": "", "visual": "dash", "audio": "dot"}
MAX_DIRECT_LABELS = 14
_MAX_POINTS = 600
"""Points of one curve; of longer curves, neighboring epochs are averaged."""


def line_styles(groups: Sequence[RunGroup]) -> list[str]:
    """CSS classes of each group's line: the color is the method, the dashes are the modality.

    If two groups would look the same, every group gets its own color.
    """
    kinds = [(group.method, group.modality) for group in groups]
    by_method = len(set(kinds)) == len(kinds)
    names = [group.method if by_method else str(i) for i, group in enumerate(groups)]
    others = [name for name in dict.fromkeys(names) if name != "joint"]
    colors = {name: f"c{i % _COLORS}" for i, name in enumerate(others)} | {"joint": "c7"}
    return [
        f"{colors[name]} {_DASHES.get(group.modality, '')}".strip()
        for name, group in zip(names, groups, strict=True)
    ]


def accuracy_chart(groups: Sequence[RunGroup], *, width: float, height: float, labels: bool) -> str:
    """Accuracy on the classes seen after each step: one line per group, with a band of ± one standard deviation.

    Args:
        groups: Groups of runs.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        labels: Whether the name of each group is at the end of its line.
    """
    steps = max(group.steps for group in groups)
    plot = Plot(
        width=width,
        height=height,
        left=44,
        right=_label_width(groups) if labels else 12,
        top=12,
        bottom=40,
        x_range=(0, max(steps - 1, 1)) if steps > 1 else (-1, 1),
        y_range=(0, 1),
    )
    body = plot.grid([0, 0.25, 0.5, 0.75, 1], lambda t: f"{100 * t:.0f} %")
    body += _step_ticks(
        plot, steps, every=max(1, round(steps * 24 / (width - plot.left - plot.right) + 0.49))
    )
    styles = line_styles(groups)
    ends = [plot.y(group.accuracy_per_step[-1].mean) for group in groups]
    label_ys = spread_out(ends, gap=17, low=plot.top, high=height - plot.bottom)
    for group, style, label_y in zip(groups, styles, label_ys, strict=True):
        body += _accuracy_line(plot, group, style, label_y if labels else None)
    return svg(width, height, body, label=_accuracy_text(groups), css="lines")


def _label_width(groups: Sequence[RunGroup]) -> float:
    return min(260, 34 + 7.2 * max(len(short(group.label, 32)) for group in groups))


def short(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def _step_ticks(plot: Plot, steps: int, every: int) -> str:
    base = plot.height - plot.bottom
    middle = (plot.left + plot.width - plot.right) / 2
    ticks = "".join(
        f'<text class="tick middle" x="{plot.x(s):g}" y="{base + 18:g}">{s + 1}</text>'
        for s in range(0, steps, every)
    )
    return ticks + f'<text class="tick middle" x="{middle:g}" y="{plot.height - 4:g}">after step</text>'


def _accuracy_line(plot: Plot, group: RunGroup, style: str, label_y: float | None) -> str:
    accuracies = group.accuracy_per_step
    parts = []
    if accuracies[0].std is not None and len(accuracies) > 1:
        upper = [(s, min(1.0, x.mean + (x.std or 0.0))) for s, x in enumerate(accuracies)]
        lower = [(s, max(0.0, x.mean - (x.std or 0.0))) for s, x in enumerate(accuracies)]
        parts.append(f'<path class="band" d="{plot.path([*upper, *lower[::-1]])}Z"/>')
    parts.append(f'<path class="line" d="{plot.path((s, x.mean) for s, x in enumerate(accuracies))}"/>')
    for s, accuracy in enumerate(accuracies):
        title = f"{group.label}, after step {s + 1}: {mean_std_text(accuracy)} %"
        parts.append(
            f'<circle class="dot-mark" cx="{plot.x(s):g}" cy="{plot.y(accuracy.mean):g}" r="3">'
            f"<title>{escape(title)}</title></circle>"
        )
    if label_y is not None:
        x, y = plot.x(len(accuracies) - 1), plot.y(accuracies[-1].mean)
        end = plot.width - plot.right
        parts.append(f'<path class="leader" d="M{x + 6:g} {y:g}L{end + 16:g} {label_y:g}"/>')
        parts.append(
            f'<text class="name" x="{end + 22:g}" y="{label_y + 4:g}">{escape(short(group.label, 32))}'
            f"<title>{escape(group.label)}</title></text>"
        )
    return f'<g class="run-line {style}">{"".join(parts)}</g>'


def _accuracy_text(groups: Sequence[RunGroup]) -> str:
    last = "; ".join(f"{group.label} {mean_std_text(group.accuracy_per_step[-1])} %" for group in groups)
    return f"Accuracy on the classes seen after each step. After the last step: {last}."


def sparkline(values: Sequence[float], style: str) -> str:
    """A small chart of accuracies on a scale from 0 to 1."""
    plot = Plot(
        width=88,
        height=24,
        left=3,
        right=5,
        top=3,
        bottom=3,
        x_range=(0, max(len(values) - 1, 1)),
        y_range=(0, 1),
    )
    points = list(enumerate(values))
    x, y = plot.x(points[-1][0]), plot.y(points[-1][1])
    text = ", ".join(f"{100 * v:.1f}" for v in values)
    body = (
        f'<g class="run-line {style}"><path class="line" d="{plot.path(points)}"/>'
        f'<circle class="dot-mark" cx="{x:g}" cy="{y:g}" r="2.5"/></g>'
    )
    return svg(88, 24, body, label=f"Accuracy per step in percent: {text}", css="spark")


def curve_chart(
    name: str, points: Sequence[tuple[int, float]], bounds: Sequence[int], *, as_percent: bool
) -> str:
    """A curve over all epochs of a run, interrupted between steps.

    Args:
        name: What is drawn.
        points: Index of the epoch in the run, and value.
        bounds: Index of the first epoch of each step, and the total number of epochs.
        as_percent: Whether values are fractions, drawn on a scale from 0 to 100 %.
    """
    values = [value for _, value in points]
    ticks = [0, 0.5, 1] if as_percent else nice_ticks(min(0.0, *values), max(values))
    plot = Plot(
        width=320,
        height=170,
        left=46,
        right=8,
        top=18,
        bottom=22,
        x_range=(0, max(bounds[-1] - 1, 1)),
        y_range=(ticks[0], ticks[-1]),
    )
    body = plot.grid(ticks, lambda t: f"{100 * t:.0f} %" if as_percent else f"{t:g}")
    body += "".join(
        f'<path class="boundary" d="M{plot.x(b - 0.5):g} {plot.top:g}V{plot.height - plot.bottom:g}"/>'
        for b in bounds[1:-1]
    )
    label_every = max(1, -(-len(bounds) // 9))
    for step, (start, stop) in enumerate(pairwise(bounds)):
        inside = _averaged(
            [p for p in points if start <= p[0] < stop], _MAX_POINTS // max(1, len(bounds) - 1)
        )
        if len(inside) == 1:
            ((x, y),) = inside
            body += f'<circle class="curve-dot" cx="{plot.x(x):g}" cy="{plot.y(y):g}" r="2"/>'
        elif inside:
            body += f'<path class="curve" d="{plot.path(inside)}"/>'
        if step % label_every == 0 and stop > start:
            middle = plot.x((start + stop - 1) / 2)
            body += f'<text class="tick middle" x="{middle:g}" y="{plot.height - 6:g}">{step + 1}</text>'
    scale = 100 if as_percent else 1
    text = f"{name}: from {scale * values[0]:.3g} at the first epoch to {scale * values[-1]:.3g} at the last"
    return svg(plot.width, plot.height, body, label=text + (" percent." if as_percent else "."))


def _averaged(points: Sequence[tuple[int, float]], limit: int) -> list[tuple[float, float]]:
    """The points, or means of neighboring points if there are more than `limit`."""
    stride = -(-len(points) // max(limit, 2))
    return [
        tuple(np.mean(points[i : i + stride], axis=0).tolist()) for i in range(0, len(points), max(stride, 1))
    ]


def shade(fraction: float) -> int:
    """Opacity level from 1 to 10 of a fraction above 0."""
    return max(1, min(10, int(np.ceil(10 * fraction))))


def calibration_chart(bins: Sequence[CalibrationBin], error: float) -> str:
    """Accuracy by confidence, one bar per bin, more opaque with more clips; the diagonal is perfect calibration."""
    plot = Plot(
        width=320, height=250, left=46, right=20, top=12, bottom=40, x_range=(0, 1), y_range=(0, 1)
    )  # fmt: skip
    body = plot.grid([0, 0.5, 1], lambda t: f"{100 * t:.0f} %")
    most = max(b.clips for b in bins)
    base = plot.height - plot.bottom
    for b in bins:
        if b.accuracy is not None and b.confidence is not None:
            x, top = plot.x(b.lower), plot.y(b.accuracy)
            title = (
                f"confidence {100 * b.lower:.0f} to {100 * b.upper:.0f} %: {b.clips} clips, mean confidence "
                f"{100 * b.confidence:.1f} %, accuracy {100 * b.accuracy:.1f} %"
            )
            body += (
                f'<rect class="right a{max(3, shade(b.clips / most))}" x="{x + 0.75:g}" '
                f'y="{min(top, base - 1.5):g}" '
                f'width="{plot.x(b.upper) - x - 1.5:g}" height="{max(base - top, 1.5):g}">'
                f"<title>{escape(title)}</title></rect>"
            )
    body += f'<path class="ideal" d="{plot.path([(0, 0), (1, 1)])}"/>'
    for value in (0, 0.5, 1):
        body += (
            f'<text class="tick middle" x="{plot.x(value):g}" y="{base + 16:g}">{100 * value:.0f} %</text>'
        )
    body += (
        f'<text class="tick middle" x="{(plot.left + 310) / 2:g}" y="{plot.height - 4:g}">confidence</text>'
    )
    text = f"Accuracy by confidence; expected calibration error {100 * error:.1f} percentage points."
    return svg(plot.width, plot.height, body, label=text)
