"""The confusion matrix as SVG: readable to about a hundred classes, drawn whole beyond.

Shapes: C classes; counts (C, C), rows the true class, columns the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avcil.reporting.charts import shade, short
from avcil.reporting.svg import escape, svg

MAX_NAMED_CLASSES = 100


def confusion_chart(counts: np.ndarray, steps: Sequence[Sequence[str]]) -> str:
    """A confusion matrix: rows true classes, columns answers, a cell's strength its share of the row.

    Right answers have one color, mistakes another; lines part the steps. Up to `MAX_NAMED_CLASSES` classes,
    names stand at both edges and every cell tells its counts when pointed at; with more, steps are numbered
    and cells only drawn.
    """
    classes = [label for step in steps for label in step]
    named = len(classes) <= MAX_NAMED_CLASSES
    cell = min(34.0, max(11.0, 760 / len(classes))) if named else max(1.5, 840 / len(classes))
    margin = 14 + 6.9 * max(len(short(name, 20)) for name in classes) if named else 36.0
    side = cell * len(classes)
    # a little room at the right and below keeps the outermost line whole
    body = f'<g transform="translate({margin:g} {margin:g})">'
    body += f'<rect class="field" width="{side:g}" height="{side:g}"/>'
    body += f'<g transform="scale({cell:g})" class="cells">'
    body += (_cells_with_titles if named else _cells_by_shade)(counts, classes) + "</g>"
    edges = np.cumsum([0, *(len(step) for step in steps)]) * cell
    body += "".join(f'<path class="boundary" d="M0 {e:g}H{side:g}M{e:g} 0V{side:g}"/>' for e in edges)
    places = (np.arange(len(classes)) + 0.5) * cell if named else (edges[:-1] + edges[1:]) / 2
    names = [short(name, 20) for name in classes] if named else [str(s + 1) for s in range(len(steps))]
    size = min(12.0, max(8.0, cell * 0.86))
    for place, name in zip(places, names, strict=True):
        text = f'class="tick" style="font-size:{size:g}px"'
        body += f'<text {text} text-anchor="end" x="-7" y="{place + size * 0.36:g}">{escape(name)}</text>'
        turned = f"translate({place + size * 0.36:g} -7) rotate(-90)"
        body += f'<text {text} transform="{turned}">{escape(name)}</text>'
    right = int(np.trace(counts))
    label = (
        f"Confusion matrix of {len(classes)} classes: {right} of {int(counts.sum())} test clips are correct."
    )
    return svg(margin + side + 2, margin + side + 2, body + "</g>", label=label, css="confusion")


def _cells_with_titles(counts: np.ndarray, classes: Sequence[str]) -> str:
    totals = counts.sum(axis=1)
    parts = []
    for i, j in np.argwhere(counts):
        kind = "right" if i == j else "wrong"
        answer = "correct" if i == j else f"predicted {classes[j]}"
        title = f"{classes[i]}: {counts[i, j]} of {totals[i]} {answer}"
        strength = shade(counts[i, j] / totals[i])
        parts.append(
            f'<rect class="{kind} a{strength}" x="{j}" y="{i}" width="1" height="1">'
            f"<title>{escape(title)}</title></rect>"
        )
    return "".join(parts)


def _cells_by_shade(counts: np.ndarray, classes: Sequence[str]) -> str:
    totals = counts.sum(axis=1)
    paths: dict[str, list[str]] = {}
    for i, j in np.argwhere(counts):
        css = f"{'right' if i == j else 'wrong'} a{shade(counts[i, j] / totals[i])}"
        paths.setdefault(css, []).append(f"M{j} {i}h1v1h-1z")
    return "".join(f'<path class="{css}" d="{"".join(cells)}"/>' for css, cells in sorted(paths.items()))
