"""The output files of `avcil reproduce`.

table.txt .md .tex .html   the tables
results.csv                one row per run, accuracies as fractions
summary.json               all values of the tables at full precision
frontier.csv .svg .png     accuracy against stored bytes and training time, with --plot frontier
timing.txt timing.csv      training time, in separate files because it is not reproducible
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avcil.experiments.pareto import write_frontier
from avcil.experiments.plan import Plan
from avcil.experiments.render import as_html, as_latex, as_markdown, as_text
from avcil.experiments.results import METRICS, DatasetResults, Group
from avcil.experiments.tables import NOTHING, make_sections
from avcil.runs.groups import MeanStd
from avcil.training.timer import PARTS
from avcil.utils.csv_files import csv_text
from avcil.utils.files import write_json, write_text
from avcil.utils.text_table import text_table

_RUN_COLUMNS = ("dataset", "row", "method", "settings", "condition", "modality", "seed", "class_order_seed")


def write_outputs(
    plan: Plan, datasets: Sequence[DatasetResults], out: Path, *, threads: int, plots: Sequence[str] = ()
) -> str:
    """Write all files and return the tables as text; `plots` can contain "frontier"."""
    sections = make_sections(plan, datasets)
    text = as_text(sections)
    write_text(out / "table.txt", text)
    write_text(out / "table.md", as_markdown(sections))
    write_text(out / "table.tex", as_latex(sections))
    charts = {"Accuracy and cost": write_frontier(plan, datasets, out)} if "frontier" in plots else {}
    title = f"avcil reproduce: {plan.study}"
    write_text(out / "table.html", as_html(sections, title=title, charts=charts))
    write_text(out / "results.csv", _results_csv(datasets))
    write_json(out / "summary.json", _summary(plan, datasets))
    write_text(out / "timing.txt", _timing_text(datasets, threads))
    write_text(out / "timing.csv", _timing_csv(datasets))
    return text


def _results_csv(datasets: Sequence[DatasetResults]) -> str:
    steps = max((group.steps for each in datasets for group in each.groups), default=0)
    streams = dict.fromkeys(
        name for each in datasets for group in each.groups for name in group.stream_metrics
    )
    header = [*_RUN_COLUMNS, *METRICS, *streams, *(f"accuracy_step_{step}" for step in range(steps))]
    rows = []
    for each in datasets:
        for group in each.groups:
            for measured in group.runs:
                run, results = measured.run, measured.results
                order = "" if run.class_order_seed is None else run.class_order_seed
                names = [each.dataset, run.row, run.entry.method, " ".join(run.config.set), run.condition]
                accuracies = results.accuracy_per_step
                rows.append(
                    [*names, run.modality, run.seed, order]
                    + ["" if (value := getattr(results, metric)) is None else value for metric in METRICS]
                    + [results.stream_metrics.get(metric, "") for metric in streams]
                    + [*accuracies, *[""] * (steps - len(accuracies))]
                )
    return csv_text([header, *rows])


def _summary(plan: Plan, datasets: Sequence[DatasetResults]) -> dict[str, Any]:
    return {
        "study": plan.study,
        "datasets": [
            {
                "name": each.dataset,
                "rows": [_group_summary(group) for group in each.groups],
                "differences": [
                    {name: value for name, value in asdict(comparison).items() if name != "test"}
                    | asdict(comparison.test)
                    for comparison in each.comparisons()
                ],
                "left_out": plan.left_out_of(each.dataset),
            }
            for each in datasets
        ],
    }


def _group_summary(group: Group) -> dict[str, Any]:
    return {
        "row": group.row,
        "modality": group.modality,
        "condition": group.condition,
        "runs_planned": group.planned,
        "runs_finished": len(group.runs),
        **{metric: _as_dict(group.mean_std(metric)) for metric in (*METRICS, *group.stream_metrics)},
        "accuracy_per_step": [_as_dict(group.mean_std("accuracy_per_step", s)) for s in range(group.steps)],
    }


def _as_dict(value: MeanStd | None) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _timing_text(datasets: Sequence[DatasetResults], threads: int) -> str:
    parts = [f"Training seconds per run, mean ± sample standard deviation; {threads} thread(s) per run.\n"]
    for each in datasets:
        rows = []
        for row in each.rows:
            groups = [each.group(row, modality) for modality in each.modalities]
            rows.append([row, *(_seconds(group) for group in groups)])
        table = text_table(rows, ["method", *each.modalities], rule=True)
        parts.append(f"{each.dataset}\n\n{table}\n")
    return "\n".join(parts)


def _seconds(group: Group | None) -> str:
    if group is None or not group.runs:
        return NOTHING
    value = MeanStd.of([run.results.seconds for run in group.runs])
    return f"{value.mean:.1f}" if value.std is None else f"{value.mean:.1f} ± {value.std:.1f}"


def _timing_csv(datasets: Sequence[DatasetResults]) -> str:
    rows = [
        [
            *(each.dataset, run.run.row, run.run.modality, run.run.seed, run.run.name),
            run.results.seconds,
            *(run.results.seconds_by_part.get(part, "") for part in PARTS),
        ]
        for each in datasets
        for group in each.groups
        for run in group.runs
    ]
    return csv_text([["dataset", "row", "modality", "seed", "run", "seconds", *PARTS], *rows])
