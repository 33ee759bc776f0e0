"""One run in the report: its figures, accuracy matrix, training curves, confusion, classes, calibration.

Shapes: C classes; counts (C, C) of the last step's confusion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avcil.reporting.charts import calibration_chart, curve_chart
from avcil.reporting.confusion import MAX_NAMED_CLASSES, confusion_chart
from avcil.reporting.report_tables import class_table, matrix_table, metrics_table, scroll, seconds
from avcil.reporting.svg import escape
from avcil.reporting.table import figure
from avcil.runs.groups import average, last, mean_forgetting
from avcil.runs.predictions import (
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    harmonic_mean_accuracy,
    macro_accuracy,
    per_class_table,
)
from avcil.runs.records import Epoch
from avcil.runs.run_files import RunRecord


def run_section(run: RunRecord, name: str, number: int, joint: RunRecord | None) -> str:
    """Everything about one run, collapsed except for the first; intransigence is measured against `joint`."""
    head = (
        f'<summary><h3>{escape(name)}</h3><span class="soft">seed {run.seed}, '
        f"average {figure(average(run))} %, "
        f"last {figure(last(run))} %</span></summary>"
    )
    inside = [_facts(run), _matrix(run), _training(run), _confusion(run), _classes(run), _calibration(run)]
    inside.append(
        '<details class="small"><summary>All metrics by definition</summary>'
        f"{metrics_table(run, joint)}</details>"
    )
    opened = " open" if number == 1 else ""
    body = f'<div class="inside">{"".join(inside)}</div>'
    return f'<details class="run" id="run-{number}"{opened}>{head}{body}</details>'


def _facts(run: RunRecord) -> str:
    labels, said = _answers(run)
    facts = [
        ("Average incremental accuracy", f"{figure(average(run))} %"),
        ("Last accuracy", f"{figure(last(run))} %"),
        ("Class mean, last step", f"{figure(macro_accuracy(labels, said))} %"),
    ]
    if len(run.steps) > 1:
        old = float(run.R[-1, :-1] @ run.n[:-1] / run.n[:-1].sum())
        new = float(run.R[-1, -1])
        facts += [
            ("Mean forgetting", figure(mean_forgetting(run))),
            ("Old / new classes", f"{figure(old)} / {figure(new)} %"),
            ("Harmonic mean of old and new", f"{figure(harmonic_mean_accuracy(old, new))} %"),
        ]
    facts.append(("Training", f"{seconds(run.results.seconds)} s"))
    return '<dl class="facts">' + "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts) + "</dl>"


def _answers(run: RunRecord) -> tuple[list[str], list[str]]:
    """Labels and answers of the last step's test clips."""
    return [p.label for p in run.predictions[-1]], [p.predicted for p in run.predictions[-1]]


def _matrix(run: RunRecord) -> str:
    note = (
        '<p class="note">Percent. Row: after this step. Column: test clips of the classes that '
        "this step introduced. Values that fall down a column show forgetting.</p>"
    )
    return f"<h3>Accuracy matrix</h3>{note}{matrix_table(run)}"


def _training(run: RunRecord) -> str:
    if not run.epochs:
        return '<h3>Training</h3><p class="note">No epochs were logged: the method has a closed-form solution.</p>'
    begins = step_begins(run.epochs, len(run.steps))
    terms = list(dict.fromkeys(term for epoch in run.epochs for term in epoch.losses))
    curves: dict[str, list[tuple[int, float | None]]] = {}
    if len(terms) != 1:
        curves["loss, all terms"] = [(i, epoch.loss) for i, epoch in enumerate(run.epochs)]
    for term in terms:
        curves[term] = [(i, epoch.losses.get(term)) for i, epoch in enumerate(run.epochs)]
    curves["validation accuracy"] = [(i, epoch.val_accuracy) for i, epoch in enumerate(run.epochs)]
    figures = []
    for name, points in curves.items():
        known = [(i, value) for i, value in points if value is not None]
        if known:
            chart = curve_chart(name, known, begins, share=name == "validation accuracy")
            caption = escape(name.replace("_", " "))
            figures.append(f"<figure><figcaption>{caption}</figcaption>{chart}</figure>")
    note = '<p class="note">All epochs. Vertical lines mark the start of a step; its number is below.</p>'
    return f'<h3>Training</h3>{note}<div class="curves">{"".join(figures)}</div>'


def step_begins(epochs: Sequence[Epoch], steps: int) -> list[int]:
    """Where each step's epochs begin in the run's log, and after the last the number of epochs."""
    counts = np.bincount([epoch.step for epoch in epochs], minlength=steps)
    return [0, *np.cumsum(counts).tolist()]


def _confusion(run: RunRecord) -> str:
    counts = confusion_matrix(*_answers(run), list(run.step_of_class))
    chart = scroll(confusion_chart(counts, run.steps), "Confusion matrix")
    pointer = " Hover over a cell for names and counts." if len(counts) <= MAX_NAMED_CLASSES else ""
    return (
        '<h3>Confusion after the last step</h3><p class="note">Row: class; column: prediction. '
        '<i class="swatch blue"></i>correct, <i class="swatch orange"></i>wrong; darker for a larger share '
        f"of the clips of the class. Lines separate the steps.{pointer}</p>{chart}"
    )


def _classes(run: RunRecord) -> str:
    return f"<h3>Classes</h3>{class_table(per_class_table(*_answers(run), run.step_of_class))}"


def _calibration(run: RunRecord) -> str:
    confidence = [p.probability for p in run.predictions[-1]]
    correct = [p.label == p.predicted for p in run.predictions[-1]]
    error = expected_calibration_error(confidence, correct)
    chart = calibration_chart(calibration_bins(confidence, correct), error)
    sure, right = float(np.mean(confidence)), float(np.mean(correct))
    gap = sure - right
    verdict = (
        "well calibrated on average"
        if abs(gap) < 0.02
        else ("overconfident" if gap > 0 else "underconfident")
    )
    return (
        f'<h3>Calibration</h3><div class="pair"><figure class="plain">{chart}</figure>'
        f"<p>Expected calibration error <b>{figure(error)}</b> percentage points over 15 bins. "
        f"Mean confidence is {figure(sure)} %, accuracy {figure(right)} %: the model is "
        f"{verdict}. A bar is the accuracy of the clips predicted with that confidence, darker with more "
        "clips; the dotted diagonal is perfect calibration.</p></div>"
    )
