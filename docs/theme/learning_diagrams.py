"""Diagrams of class-incremental learning and of BLADE."""

from __future__ import annotations

import numpy as np
from drawing import Drawing

from avcil.runs.metrics import forgetting

EXAMPLE = [[60.0], [70.0, 80.0], [65.0, 85.0, 90.0], [75.0, 50.0, 70.0, 88.0]]
"""R of the example in protocol.md, in percent."""


def steps() -> Drawing:
    """Each step: new clips, exemplars, the teacher, and the test."""
    sheet = Drawing("steps", "Three steps: new clips, exemplars, teacher, test", 400)
    classes = ("cat, dog", "owl, hen", "pig, cow")
    for step, new in enumerate(classes):
        y = 8 + 134 * step
        sheet.text(8, y + 4, f"step {step + 1}", bold=True, anchor="start")
        sheet.box(8, y + 20, 126, 40, f"all clips of\n{new}", color="new", fill="new-box", size=13)
        sheet.arrow([(136, y + 40), (160, y + 48 if step else y + 40)], color="new")
        if step:
            kept = ", ".join(classes[:step]) if step == 1 else "all old classes"
            sheet.box(8, y + 66, 126, 40, f"kept: a few of\n{kept}", color="old", fill="old-box", size=13)
            sheet.arrow([(136, y + 86), (160, y + 76)], color="old")
        sheet.box(162, y + 20, 84, 86 if step else 40, "the model\nlearns", size=13)
        if step < 2:
            begin = y + (108 if step else 62)
            sheet.arrow([(204, begin), (204, y + 152)], color="old", dashed=True)
            sheet.text(
                212,
                (begin + y + 152) / 2 - 4,
                "and is the next teacher",
                size=12,
                anchor="start",
                color="old",
            )
        sheet.arrow([(248, y + 40), (272, y + 40)])
        _head(sheet, 274, y + 12, ", ".join(classes[: step + 1]).split(", "), fresh=2)
        sheet.text(343, y + 80, f"test: all {2 * step + 2} classes", size=13)
    return sheet


def _head(sheet: Drawing, x: float, y: float, known: list[str], *, fresh: int) -> None:
    """A row of the head for each class; the last `fresh` are new."""
    for number in range(6):
        name = known[number] if number < len(known) else ""
        kind = "new" if number >= len(known) - fresh else "old"
        look = {"color": kind, "fill": f"{kind}-box"} if name else {"fill": "paper"}
        sheet.box(x + 46 * (number % 3), y + 28 * (number // 3), 44, 26, name, size=13, **look)


def forgotten() -> Drawing:
    """The accuracy matrix of the example, and what forgetting is of it."""
    sheet = Drawing("forgotten", "The accuracy matrix and forgetting", 292)
    count, side, left, top = len(EXAMPLE), 58, 108, 46
    matrix = np.full((count, count), np.nan)
    for step, row in enumerate(EXAMPLE):
        matrix[step, : len(row)] = row
    best = np.nanmax(matrix[:-1, :-1], axis=0)
    sheet.text(left + 2 * side, 12, "accuracy, %, on the test clips of the classes of", size=13, color="soft")
    for step in range(count):
        sheet.text(left + (step + 0.5) * side, 32, f"step {step + 1}", size=13)
        sheet.text(left - 8, top + (step + 0.5) * 40, f"after step {step + 1}", size=13, anchor="end")
        for task in range(count):
            value = matrix[step, task]
            x, y = left + task * side, top + step * 40
            if np.isnan(value):
                sheet.box(x, y, side, 40, fill="paper", round_=0)
            else:
                is_best = step < count - 1 and task < count - 1 and value == best[task]
                is_last = step == count - 1 and task < count - 1
                kind = (
                    ("new", "new-box") if is_best else ("sound", "sound-box") if is_last else ("line", "box")
                )
                sheet.box(x, y, side, 40, f"{value:.0f}", color=kind[0], fill=kind[1], round_=0)
    lost = best - matrix[-1, :-1]
    for task, points in enumerate(lost):
        sheet.text(left + (task + 0.5) * side, 222, f"{points:g}", bold=True)
    sheet.text(left - 8, 222, "lost", anchor="end", size=13)
    mean = 100 * forgetting(matrix / 100)
    sheet.text(210, 250, f"forgetting: the mean of these, {mean:.2f} points", bold=True)
    sheet.text(210, 274, "green: best before the last step; orange: after it", size=13, color="soft")
    return sheet


def sums() -> Drawing:
    """Clips, the statistics of BLADE, and the classifier computed from them."""
    sheet = Drawing("sums", "BLADE: statistics of clips, and the classifier", 452)
    for number, (name, kind) in enumerate((("step 1", "old"), ("step 2", "old"), ("step 3", "new"))):
        x = 8 + 138 * number
        sheet.box(x, 6, 124, 40, f"clips of {name}", color=kind, fill=f"{kind}-box")
        sheet.arrow([(x + 62, 48), (x + 62, 76)])
    for x, words, kind in (
        (8, "audio\na", "sound"),
        (146, "mean of tokens\nm", "picture"),
        (284, "deviation\nd", "picture"),
    ):
        sheet.box(x, 78, 124, 46, words, color=kind, fill=f"{kind}-box", size=13)
    sheet.text(210, 142, "each clip becomes one vector x = [a, m, d]", size=13, color="soft")
    sheet.arrow([(210, 152), (210, 178)])
    sheet.box(8, 180, 400, 84)
    sheet.text(210, 196, "stored: counts, means and scatter", bold=True)
    for x, name, what in (
        (16, "n", "clips per class"),
        (148, "class means", "classes × M"),
        (280, "W: scatter", "M × M, in classes"),
    ):
        sheet.box(x, 210, 124, 46, f"{name}\n{what}", fill="paper", size=13)
    sheet.arrow([(110, 266), (110, 292)])
    sheet.arrow([(310, 266), (310, 292)])
    sheet.box(8, 294, 196, 62, "Λ: a penalty for each block,\nby generalized\ncross-validation", size=13)
    sheet.box(212, 294, 196, 62, "μ: shrunk class means,\nwith ψ estimated\nfor each block", size=13)
    sheet.arrow([(110, 358), (180, 384)])
    sheet.arrow([(310, 358), (240, 384)])
    sheet.box(
        58,
        386,
        304,
        44,
        "score of class c: μ_cᵀ (W + Λ)⁻¹ z + constant",
        color="new",
        fill="new-box",
        size=13,
    )
    sheet.text(
        210, 443, "z is x, centered and scaled; the order of the clips has no effect", size=12, color="soft"
    )
    return sheet


DRAWINGS = (steps, forgotten, sums)
