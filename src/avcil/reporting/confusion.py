"""The confusion matrix as SVG.

Shapes: C classes; counts (C, C), rows are true classes, columns predicted classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avcil.reporting.charts import shade, short
from avcil.reporting.svg import escape, svg

MAX_NAMED_CLASSES = 100
"""With more classes, the axes have step numbers instead of class names, and cells have no tooltips."""


def confusion_chart(counts: np.ndarray, steps: Sequence[Sequence[str]]) -> str:
    """Draw a confusion matrix. The opacity of a cell is its fraction of the row.

    Correct and wrong predictions have different colors; lines separate the steps.
    """
    classes = [label for step in steps for label in step]
    named = len(classes) <= MAX_NAMED_CLASSES
    cell = min(34.0, max(11.0, 760 / len(classes))) if named else max(1.5, 840 / len(classes))
    margin = 14 + 6.9 * max(len(short(name, 20)) for name in classes) if named else 36.0
    side = cell * len(classes)
    body = f'<g transform="translate({margin:g} {margin:g})">'
    body += f'<rect class="field" width="{side:g}" height="{side:g}"/>'
    body += f'<g transform="scale({cell:g})" class="cells">'
    body += (_cells_with_titles if named else _cells_by_shade)(counts, classes) + "</g>"
    edges = np.cumsum([0, *(len(step) for step in steps)]) * cell
    body += "".join(f'<path class="boundary" d="M0 {e:g}H{side:g}M{e:g} 0V{side:g}"/>' for e in edges)
    centers = (np.arange(len(classes)) + 0.5) * cell if named else (edges[:-1] + edges[1:]) / 2
    names = [short(name, 20) for name in classes] if named else [str(s + 1) for s in range(len(steps))]
    size = min(12.0, max(8.0, cell * 0.86))
    for center, name in zip(centers, names, strict=True):
        text = f'class="tick" style="font-size:{size:g}px"'
        body += f'<text {text} text-anchor="end" x="-7" y="{center + size * 0.36:g}">{escape(name)}</text>'
        rotated = f"translate({center + size * 0.36:g} -7) rotate(-90)"
        body += f'<text {text} transform="{rotated}">{escape(name)}</text>'
    correct = int(np.trace(counts))
    label = f"Confusion matrix of {len(classes)} classes: {correct} of {int(counts.sum())} test clips are correct."
    # two pixels more, so that the outermost lines are not cut off
    return svg(margin + side + 2, margin + side + 2, body + "</g>", label=label, css="confusion")


def _cells_with_titles(counts: np.ndarray, classes: Sequence[str]) -> str:
    totals = counts.sum(axis=1)
    parts = []
    for i, j in np.argwhere(counts):
        kind = "right" if i == j else "wrong"
        outcome = "correct" if i == j else f"predicted {classes[j]}"
        title = f"{classes[i]}: {counts[i, j]} of {totals[i]} {outcome}"
        level = shade(counts[i, j] / totals[i])
        parts.append(
            f'<rect class="{kind} a{level}" x="{j}" y="{i}" width="1" height="1">'
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
