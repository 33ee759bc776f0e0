"""The report's section on one run: metrics, accuracy matrix, training curves, confusion, classes, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from avcil.reporting.charts import calibration_chart, curve_chart
from avcil.reporting.confusion import MAX_NAMED_CLASSES, confusion_chart
from avcil.reporting.report_tables import class_table, matrix_table, metrics_table, scroll, seconds
from avcil.reporting.table import percent, stream_facts
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
    """The section as HTML.

    Args:
        run: The run.
        name: Its name in the report.
        number: Its position; sections after the first are collapsed.
        joint: The run of joint training for intransigence.
    """
    counts = confusion_matrix(*_predictions(run), list(run.step_of_class))
    section = render(
        "avcil.reporting",
        "run",
        run=run,
        name=name,
        number=number,
        average=percent(run.average_incremental_accuracy),
        last=percent(run.last_accuracy),
        facts=_facts(run),
        matrix=Markup(matrix_table(run)),
        curves=_curves(run),
        has_names=len(counts) <= MAX_NAMED_CLASSES,
        confusion=Markup(scroll(confusion_chart(counts, run.steps), "Confusion matrix")),
        classes=Markup(class_table(per_class_table(*_predictions(run), run.step_of_class))),
        metrics=Markup(metrics_table(run, joint)),
        **_calibration(run),
    )
    return str(section)


def _facts(run: RunRecord) -> list[tuple[str, str]]:
    facts = [
        ("Average incremental accuracy", f"{percent(run.average_incremental_accuracy)} %"),
        ("Last accuracy", f"{percent(run.last_accuracy)} %"),
        ("Class-mean accuracy, last step", f"{percent(macro_accuracy(*_predictions(run)))} %"),
    ]
    if len(run.steps) > 1:
        facts.append(("Mean forgetting", percent(run.mean_forgetting)))
    if len(run.steps) > 1 and run.n[-1]:
        old = float(np.nan_to_num(run.R[-1, :-1]) @ run.n[:-1] / run.n[:-1].sum())
        new = float(run.R[-1, -1])
        facts += [
            ("Accuracy on old / new classes", f"{percent(old)} / {percent(new)} %"),
            ("Harmonic mean of both", f"{percent(harmonic_mean_accuracy(old, new))} %"),
        ]
    if run.config.stream is not None:
        facts.append(("Stream", str(run.config.stream["name"])))
        facts += stream_facts(run.results.stream_metrics)
    return [*facts, ("Training", f"{seconds(run.results.seconds)} s")]


def _predictions(run: RunRecord) -> tuple[list[str], list[str]]:
    """Labels and predicted classes of the test clips after the last step."""
    return [p.label for p in run.predictions[-1]], [p.predicted for p in run.predictions[-1]]


def _curves(run: RunRecord) -> list[tuple[str, Markup]]:
    """Captions and charts of the losses and of the validation accuracy; none without epochs."""
    if not run.epochs:
        return []
    bounds = _step_bounds(run.epochs, len(run.steps))
    terms = list(dict.fromkeys(term for epoch in run.epochs for term in epoch.losses))
    curves: dict[str, list[tuple[int, float | None]]] = {}
    if len(terms) != 1:
        curves["loss, all terms"] = [(i, epoch.loss) for i, epoch in enumerate(run.epochs)]
    for term in terms:
        curves[term] = [(i, epoch.losses.get(term)) for i, epoch in enumerate(run.epochs)]
    curves["validation accuracy"] = [(i, epoch.val_accuracy) for i, epoch in enumerate(run.epochs)]
    charts: list[tuple[str, Markup]] = []
    for name, points in curves.items():
        known = [(i, value) for i, value in points if value is not None]
        if known:
            chart = curve_chart(name, known, bounds, as_percent=name == "validation accuracy")
            charts.append((name.replace("_", " "), Markup(chart)))
    return charts


def _step_bounds(epochs: Sequence[Epoch], steps: int) -> list[int]:
    """Index of the first epoch of each step, and the total number of epochs."""
    counts = np.bincount([epoch.step for epoch in epochs], minlength=steps)
    return [0, *np.cumsum(counts).tolist()]


def _calibration(run: RunRecord) -> dict[str, str]:
    confidence = [p.probability for p in run.predictions[-1]]
    correct = [p.label == p.predicted for p in run.predictions[-1]]
    error = expected_calibration_error(confidence, correct)
    chart = calibration_chart(calibration_bins(confidence, correct), error)
    mean, accuracy = float(np.mean(confidence)), float(np.mean(correct))
    verdict = "overconfident" if mean > accuracy else "underconfident"
    return {
        "calibration": Markup(chart),
        "error": percent(error),
        "confidence": percent(mean),
        "accuracy": percent(accuracy),
        "verdict": "well calibrated on average" if abs(mean - accuracy) < 0.02 else verdict,
    }
