"""Runs of VS100-CI, evaluated with the labels of VGGSounder: a text table, and all values for JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from avcil.datasets.vggsounder import Annotations
from avcil.errors import InputError
from avcil.reporting.table import mean_std_text
from avcil.runs.groups import MeanStd, group_runs
from avcil.runs.multi_label import MultiLabelScore, Proportion, multi_label_score
from avcil.runs.run_files import RunRecord
from avcil.utils.text_table import text_table

BENCHMARK = "vs100-ci"
COLUMNS: dict[str, Callable[[MultiLabelScore], Proportion | None]] = {
    "single label": lambda score: score.single_label,
    "multi-label": lambda score: score.multi_label,
    "attainable": lambda score: score.attainable,
    "audible": lambda score: score.by_modality.get("audible"),
    "visible": lambda score: score.by_modality.get("visible"),
    "confirmed": lambda score: score.confirmed_single_label,
}
_LEGEND = """\
Accuracy in %, after the last step, on the annotated test clips
  single label   the prediction is the label of the benchmark
  multi-label    the prediction is one of the annotated classes
  attainable     clips with an annotated class that the model has: the maximum multi-label accuracy
  audible        multi-label, with audible classes alone, on clips that have any
  visible        multi-label, with visible classes alone, on clips that have any
  confirmed      single label, on clips whose label is one of the annotated classes"""


def scores(run: RunRecord, annotations: Annotations) -> list[MultiLabelScore]:
    """Evaluate the recorded test predictions of a run after each step.

    Args:
        run: A finished run of VS100-CI, as released or leak-free.
        annotations: The labels of VGGSounder.

    Raises:
        InputError: If the run is of another benchmark, or none of its test clips is annotated.
    """
    name = run.config.benchmark.name
    if not name.startswith(BENCHMARK):
        raise InputError(
            f"{run.folder} is a run of the benchmark {name!r}; VGGSounder annotates clips of VGGSound: give runs of "
            f"avcil train --benchmark {BENCHMARK} or {BENCHMARK}-leak-free"
        )
    rows = []
    for step, predictions in enumerate(run.predictions):
        classes = [label for labels in run.steps[: step + 1] for label in labels]
        rows.append(multi_label_score(predictions, annotations, classes))
    if not rows[-1].annotated.count:
        raise InputError(f"none of the {rows[-1].annotated.clips} test clips of {run.folder} is annotated")
    return rows


def vggsounder_table(runs: Sequence[RunRecord], annotations: Annotations) -> str:
    """A table of runs, averaged over seeds; InputError as for `scores`."""
    last = {run.folder: scores(run, annotations)[-1] for run in runs}
    header = ["method", "modality", "seeds", "annotated clips", "label confirmed", *COLUMNS]
    rows = []
    for group in group_runs(runs):
        counts = {(last[run.folder].annotated.count, last[run.folder].confirmed.count) for run in group.runs}
        if len(counts) > 1:
            raise InputError(
                f"the runs of {group.label} have different test clips; give runs on the same feature store"
            )
        annotated, confirmed = counts.pop()
        cells = [_cell([column(last[run.folder]) for run in group.runs]) for column in COLUMNS.values()]
        method = f"{group.method} ({group.difference})" if group.difference else group.method
        rows.append([method, group.modality, len(group.runs), annotated, confirmed, *cells])
    return f"{text_table(rows, header, names=2, rule=True)}\n\n{_LEGEND}"


def _cell(proportions: Sequence[Proportion | None]) -> str:
    """Mean and standard deviation in percent; a dash if the value is undefined for a run."""
    values = [None if each is None else each.fraction for each in proportions]
    return mean_std_text(
        None if None in values else MeanStd.of([value for value in values if value is not None])
    )


def vggsounder_values(runs: Sequence[RunRecord], annotations: Annotations) -> list[dict[str, Any]]:
    """The counts of each run after each step, for JSON; InputError as for `scores`."""
    return [
        {
            "run": str(run.folder),
            "method": run.method,
            "modality": run.modality,
            "seed": run.seed,
            "steps": [asdict(score) for score in scores(run, annotations)],
        }
        for run in runs
    ]
