"""One run in the report: its figures, accuracy matrix, training curves, confusion, classes, calibration.

Shapes: C classes; counts (C, C) of the last step's confusion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from avcil.reporting.charts import calibration_chart, curve_chart
from avcil.reporting.confusion import MAX_NAMED_CLASSES, confusion_chart
from avcil.reporting.report_tables import class_table, matrix_table, metrics_table, scroll, seconds
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
from avcil.utils.templates import render


def run_section(run: RunRecord, name: str, number: int, joint: RunRecord | None) -> str:
    """Everything about one run, collapsed except for the first; intransigence is measured against `joint`."""
    counts = confusion_matrix(*_answers(run), list(run.step_of_class))
    section = render(
        "avcil.reporting",
        "run",
        run=run,
        name=name,
        number=number,
        average=figure(average(run)),
        last=figure(last(run)),
        facts=_facts(run),
        matrix=Markup(matrix_table(run)),
        curves=_curves(run),
        has_names=len(counts) <= MAX_NAMED_CLASSES,
        confusion=Markup(scroll(confusion_chart(counts, run.steps), "Confusion matrix")),
        classes=Markup(class_table(per_class_table(*_answers(run), run.step_of_class))),
        metrics=Markup(metrics_table(run, joint)),
        **_calibration(run),
    )
    return str(section)


def _facts(run: RunRecord) -> list[tuple[str, str]]:
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
    return [*facts, ("Training", f"{seconds(run.results.seconds)} s")]


def _answers(run: RunRecord) -> tuple[list[str], list[str]]:
    """Labels and answers of the last step's test clips."""
    return [p.label for p in run.predictions[-1]], [p.predicted for p in run.predictions[-1]]


def _curves(run: RunRecord) -> list[tuple[str, Markup]]:
    """Captions and charts of the losses and of the validation accuracy; none without epochs."""
    if not run.epochs:
        return []
    begins = step_begins(run.epochs, len(run.steps))
    terms = list(dict.fromkeys(term for epoch in run.epochs for term in epoch.losses))
    curves: dict[str, list[tuple[int, float | None]]] = {}
    if len(terms) != 1:
        curves["loss, all terms"] = [(i, epoch.loss) for i, epoch in enumerate(run.epochs)]
    for term in terms:
        curves[term] = [(i, epoch.losses.get(term)) for i, epoch in enumerate(run.epochs)]
    curves["validation accuracy"] = [(i, epoch.val_accuracy) for i, epoch in enumerate(run.epochs)]
    figures: list[tuple[str, Markup]] = []
    for name, points in curves.items():
        known = [(i, value) for i, value in points if value is not None]
        if known:
            chart = curve_chart(name, known, begins, share=name == "validation accuracy")
            figures.append((name.replace("_", " "), Markup(chart)))
    return figures


def step_begins(epochs: Sequence[Epoch], steps: int) -> list[int]:
    """Where each step's epochs begin in the run's log, and after the last the number of epochs."""
    counts = np.bincount([epoch.step for epoch in epochs], minlength=steps)
    return [0, *np.cumsum(counts).tolist()]


def _calibration(run: RunRecord) -> dict[str, str]:
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
    return {
        "calibration": Markup(chart),
        "error": figure(error),
        "confidence": figure(sure),
        "accuracy": figure(right),
        "verdict": verdict,
    }
