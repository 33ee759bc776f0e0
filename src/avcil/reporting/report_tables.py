"""Tables of the report as HTML: runs, accuracy of every step, the accuracy matrix, classes, all metrics.

Texts from users (class names, methods, folders) are escaped. A table that is wider than the screen scrolls in its
own region (`scroll`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from avcil.reporting.charts import line_styles, sparkline
from avcil.reporting.table import SUMMARY, mean_std_text, percent
from avcil.runs import metrics
from avcil.runs.groups import RunGroup
from avcil.runs.predictions import ClassRow
from avcil.runs.run_files import RunRecord
from avcil.utils.templates import macro

_DEFINITIONS = {
    "average_incremental_accuracy": "mean over the steps of the accuracy on all classes seen",
    "average_incremental_accuracy_task_mean": "the same with the unweighted mean over tasks at each step",
    "last_accuracy": "accuracy on all classes after the last step",
    "last_accuracy_task_mean": "unweighted mean over tasks after the last step",
    "forgetting": "best accuracy before the last step minus the last, mean over earlier tasks",
    "mean_forgetting": "forgetting after each step but the first, averaged over the steps",
    "forgetting_all_max": "as forgetting, with the best accuracy of all steps including the last",
    "forgetting_first": "accuracy after the task's own step minus the last, mean over earlier tasks",
    "backward_transfer": "last accuracy minus that after the task's own step, mean over earlier tasks",
    "backward_transfer_all": "the same after every later step, mean over tasks and steps",
    "accuracy_lower_triangle": "mean of all values of the accuracy matrix",
    "intransigence": "the joint run's accuracy on new classes minus this run's, mean over the steps",
    "forward_transfer": "undefined, because the model has no output for classes not yet seen",
}

FLIPS = {"flip-light": 0.81, "flip-dark": 0.61}
"""CSS classes that change the text color of cells from these accuracies on, so that the contrast is about 4.5 or more:
to white in light mode, and to black in dark mode."""


def _macro(name: str, *values: object) -> str:
    return str(macro("avcil.reporting", "report_tables", name, *values))


def scroll(content: str, name: str) -> str:
    """A region that scrolls by touch, mouse or keyboard; `content` is HTML."""
    return _macro("scroll", Markup(content), name, "")


def seconds(value: float) -> str:
    """Format seconds.

    >>> seconds(7.26), seconds(1234.5)
    ('7.3', '1,234')
    """
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def runs_table(groups: Sequence[RunGroup]) -> str:
    """One row per experiment, and below it one row per run if it has several seeds."""
    return _macro("runs", list(map(_group_row, groups, line_styles(groups))))


def _group_row(group: RunGroup, style: str) -> dict[str, Any]:
    return {
        "group": group,
        "style": style,
        "summary": [mean_std_text(group.mean_std(metric)) for metric in SUMMARY],
        "line": Markup(sparkline([x.mean for x in group.accuracy_per_step], style)),
        "seconds": seconds(float(np.mean([run.results.seconds for run in group.runs]))),
        "runs": [_seed_row(run, style) for run in group.runs] if len(group.runs) > 1 else [],
    }


def _seed_row(run: RunRecord, style: str) -> dict[str, Any]:
    return {
        "name": run.folder.name,
        "summary": [percent(getattr(run, metric)) for metric in SUMMARY],
        "line": Markup(sparkline(run.accuracy_per_step, style)),
        "seconds": seconds(run.results.seconds),
        "seed": run.seed,
    }


def steps_table(groups: Sequence[RunGroup]) -> str:
    """The accuracy after every step, one row per experiment: the values of the chart."""
    steps = max(group.steps for group in groups)
    rows = [
        (group.label, [*map(mean_std_text, group.accuracy_per_step), *[""] * (steps - group.steps)])
        for group in groups
    ]
    return _macro("steps", rows, steps)


def matrix_table(run: RunRecord) -> str:
    """The accuracy matrix as a table with a heat map: each cell has its value as text and as color."""
    digits = 1 if len(run.steps) <= 10 else 0
    rows = [
        ([_heat_cell(float(value), digits) for value in run.R[s, : s + 1]], percent(run.accuracy_per_step[s]))
        for s in range(len(run.steps))
    ]
    return _macro("matrix", run.steps, rows, run.n.tolist())


def _heat_cell(value: float, digits: int) -> dict[str, str]:
    if math.isnan(value):  # a task without test clips
        return {"css": "", "share": "0", "text": ""}
    css = "".join(f" {name}" for name, flip in FLIPS.items() if value >= flip)
    return {"css": css, "share": f"{100 * value:.0f}", "text": f"{100 * value:.{digits}f}"}


def class_table(rows: Sequence[ClassRow]) -> str:
    """Every class after the last step; each column can be sorted."""
    return _macro("classes", rows, percent)


def metrics_table(run: RunRecord, joint: RunRecord | None) -> str:
    """All metrics by name; intransigence needs a run of joint training."""
    values = metrics.all_metrics(run.R, run.n, None if joint is None else joint.R)
    return _macro("metrics", [(name, percent(values[name]), text) for name, text in _DEFINITIONS.items()])
