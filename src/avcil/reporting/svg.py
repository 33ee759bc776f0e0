"""SVG text for charts. Colors are CSS classes, so that light and dark modes apply.

Lengths are in units of the chart's view box, about one CSS pixel each.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


def escape(text: object) -> str:
    """Escape text for HTML and SVG, in content and in quoted attributes."""
    return html.escape(str(text), quote=True)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The area of a chart, its margins, and the conversion of data to coordinates."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        fraction = (value - low) / (high - low) if high > low else 0.5
        return round(self.left + fraction * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return round(self.height - self.bottom - (value - low) / (high - low) * self.inner_height, 1)

    @property
    def inner_height(self) -> float:
        return self.height - self.top - self.bottom

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """SVG path data through points in data units."""
        return "M" + "L".join(f"{self.x(x):g} {self.y(y):g}" for x, y in points)

    def grid(self, ticks: Sequence[float], name: Callable[[float], str]) -> str:
        """Horizontal grid lines with labels on the left."""
        right = self.width - self.right
        return "".join(
            f'<path class="grid" d="M{self.left:g} {self.y(t):g}H{right:g}"/>'
            f'<text class="tick end" x="{self.left - 8:g}" y="{self.y(t) + 4:g}">{escape(name(t))}</text>'
            for t in ticks
        )


def svg(width: float, height: float, body: str, *, label: str, css: str = "") -> str:
    """An SVG image; `label` is its description for screen readers."""
    return (
        f'<svg class="chart {css}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`.

    >>> nice_ticks(0, 2.3)
    [0.0, 1.0, 2.0, 3.0]
    """
    span = high - low or abs(high) or 1.0
    raw = span / 3
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def spread_out(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions as little as possible so that they are `gap` apart within [low, high], in the same order.

    >>> spread_out([10, 12, 40], gap=10, low=0, high=50)
    [6.0, 16.0, 40.0]
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    blocks: list[list[float]] = []  # each: sum of desired starts, count
    for rank, i in enumerate(order):
        blocks.append([positions[i] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    start = [total / count for total, count in blocks for _ in range(int(count))]
    ceiling = high - (len(positions) - 1) * gap
    result = [0.0] * len(positions)
    for rank, i in enumerate(order):
        result[i] = max(low, min(start[rank], ceiling)) + rank * gap
    return result
