"""The files that a reproduction leaves beside its runs.

table.txt .md .tex .html   the tables
results.csv                a row a run, accuracies as fractions
summary.json               every figure of the tables at full precision
frontier.csv .svg .png     accuracy against bytes and seconds, where asked for
timing.txt timing.csv      seconds of training, apart, because they alone differ from one time to the next
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from avcil.experiments.pareto import write_frontier
from avcil.experiments.plan import Plan
from avcil.experiments.render import as_html, as_latex, as_markdown, as_text
from avcil.experiments.results import METRICS, Figures, Group
from avcil.experiments.tables import NOTHING, make_sections
from avcil.runs.groups import Spread
from avcil.training.timer import PARTS
from avcil.utils.files import write_json, write_text
from avcil.utils.text_table import text_table

RUN_COLUMNS = ("dataset", "row", "method", "settings", "condition", "modality", "seed", "class_order_seed")


def write_outputs(
    plan: Plan, figures: Sequence[Figures], out: Path, *, threads: int, plots: Sequence[str] = ()
) -> str:
    """Write all files and return the text of the tables; `plots` may name "frontier"."""
    sections = make_sections(plan, figures)
    text = as_text(sections)
    write_text(out / "table.txt", text)
    write_text(out / "table.md", as_markdown(sections))
    write_text(out / "table.tex", as_latex(sections))
    pictures = (
        {"Accuracy and what it costs": write_frontier(plan, figures, out)} if "frontier" in plots else {}
    )
    write_text(
        out / "table.html", as_html(sections, title=f"avcil reproduce: {plan.study}", pictures=pictures)
    )
    write_text(out / "results.csv", _results_csv(figures))
    write_json(out / "summary.json", _summary(plan, figures))
    write_text(out / "timing.txt", _timing_text(figures, threads))
    write_text(out / "timing.csv", _timing_csv(figures))
    return text


def _results_csv(figures: Sequence[Figures]) -> str:
    steps = max((group.steps for each in figures for group in each.groups), default=0)
    header = [*RUN_COLUMNS, *METRICS, *(f"accuracy_step_{step}" for step in range(steps))]
    rows = []
    for each in figures:
        for group in each.groups:
            for measured in group.runs:
                run, results = measured.run, measured.results
                order = "" if run.class_order_seed is None else run.class_order_seed
                described = [each.dataset, run.row, run.entry.method, " ".join(run.config.set), run.condition]
                accuracies = results.accuracy_per_step
                rows.append(
                    [*described, run.modality, run.seed, order]
                    + ["" if (value := getattr(results, metric)) is None else value for metric in METRICS]
                    + [*accuracies, *[""] * (steps - len(accuracies))]
                )
    return _csv([header, *rows])


def _summary(plan: Plan, figures: Sequence[Figures]) -> dict[str, Any]:
    return {
        "study": plan.study,
        "datasets": [
            {
                "name": each.dataset,
                "rows": [_group_summary(group) for group in each.groups],
                "differences": [
                    {name: value for name, value in asdict(versus).items() if name != "comparison"}
                    | asdict(versus.comparison)
                    for versus in each.versus()
                ],
                "left_out": plan.left_out_of(each.dataset),
            }
            for each in figures
        ],
    }


def _group_summary(group: Group) -> dict[str, Any]:
    return {
        "row": group.row,
        "modality": group.modality,
        "condition": group.condition,
        "runs_planned": group.planned,
        "runs_finished": len(group.runs),
        **{metric: _plain(group.spread(metric)) for metric in METRICS},
        "accuracy_per_step": [_plain(group.spread("accuracy_per_step", s)) for s in range(group.steps)],
    }


def _plain(spread: Spread | None) -> dict[str, Any] | None:
    return None if spread is None else asdict(spread)


def _timing_text(figures: Sequence[Figures], threads: int) -> str:
    parts = [f"Seconds of training a run, mean ± sample standard deviation; {threads} thread(s) a run.\n"]
    for each in figures:
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
    values = [run.results.seconds for run in group.runs]
    deviation = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{deviation}"


def _timing_csv(figures: Sequence[Figures]) -> str:
    rows = [
        [
            *(each.dataset, run.run.row, run.run.modality, run.run.seed, run.run.name),
            run.results.seconds,
            *(run.results.seconds_by_part.get(part, "") for part in PARTS),
        ]
        for each in figures
        for group in each.groups
        for run in group.runs
    ]
    return _csv([["dataset", "row", "modality", "seed", "run", "seconds", *PARTS], *rows])


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
