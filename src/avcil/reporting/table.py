"""A text table of runs, in percent.

One row per experiment: the mean over seeds, in the summary columns with ± the sample standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avcil.runs.groups import MeanStd, RunGroup, group_runs
from avcil.runs.run_files import RunRecord
from avcil.utils.text_table import text_table

SUMMARY = ("average_incremental_accuracy", "last_accuracy", "mean_forgetting")
"""Properties of `RunRecord` in the summary columns."""
_MAX_STEPS = 6
"""Maximum number of steps with a column. Of more steps, this many are shown, evenly spaced from first to last."""


def mean_std_text(value: MeanStd | None, digits: int = 1) -> str:
    """Format a fraction in percent: the mean, and ± the standard deviation over several runs.

    >>> mean_std_text(MeanStd(mean=0.7082, std=0.013, n=3)), mean_std_text(None)
    ('70.8 ± 1.3', '–')
    """
    if value is None:
        return "–"
    mean = percent(value.mean, digits)
    return mean if value.std is None else f"{mean} ± {percent(value.std, digits)}"


def percent(value: float | None, digits: int = 1) -> str:
    """Format a fraction in percent; a dash if it is undefined, and 0.0 instead of −0.0.

    >>> percent(-0.03), percent(-0.0001), percent(None)
    ('−3.0', '0.0', '–')
    """
    if value is None:
        return "–"
    return f"{round(100 * value, digits) + 0.0:.{digits}f}".replace("-", "−")


def stream_facts(values: Mapping[str, float]) -> list[tuple[str, str]]:
    """Name and value, formatted, of the metrics of a stream.

    >>> stream_facts({"base_accuracy": 0.948, "score_distance": 2e-15})
    [('Base accuracy', '94.8 %'), ('Score distance', '2e-15')]
    """
    return [
        (metric_title(name), f"{value:.2g}" if name == "score_distance" else f"{percent(value)} %")
        for name, value in values.items()
    ]


def metric_title(name: str) -> str:
    """A metric of a stream for people.

    >>> metric_title("base_accuracy"), metric_title("a_auc")
    ('Base accuracy', 'A_AUC')
    """
    return "A_AUC" if name == "a_auc" else name.replace("_", " ").capitalize()


def shown_steps(steps: int) -> list[int]:
    """The steps with a column, counted from 0.

    >>> shown_steps(17)
    [0, 3, 6, 10, 13, 16]
    """
    if steps <= _MAX_STEPS:
        return list(range(steps))
    return [round(i * (steps - 1) / (_MAX_STEPS - 1)) for i in range(_MAX_STEPS)]


def summary_table(runs: Sequence[RunRecord]) -> str:
    """A table of finished runs: method, modality, accuracy after each step, average, last, mean forgetting."""
    groups = group_runs(runs)
    steps = max(group.steps for group in groups)
    columns = shown_steps(steps)
    header = ["method", "modality", *(f"step {s + 1}" for s in columns), "average", "last", "mean forgetting"]
    rows = [_row(group, columns) for group in groups]
    if any(len(group.runs) > 1 for group in groups):
        header.insert(2, "seeds")
        for row, group in zip(rows, groups, strict=True):
            row.insert(2, str(len(group.runs)))
    return text_table(rows, header, names=2, rule=True) + "\n"


def _row(group: RunGroup, columns: Sequence[int]) -> list[str]:
    method = f"{group.method} ({group.difference})" if group.difference else group.method
    accuracies = group.accuracy_per_step
    return [
        method,
        group.modality,
        *(percent(accuracies[s].mean) if s < len(accuracies) else "" for s in columns),
        *(mean_std_text(group.mean_std(metric)) for metric in SUMMARY),
    ]
