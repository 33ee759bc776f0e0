"""The report's tables, as HTML: runs, accuracy of every step, the accuracy matrix, classes, all metrics.

Every text that a user may have chosen (class names, methods, folders) is escaped. A table wider than the
screen scrolls by itself (`scroll`), never the page.
"""

from __future__ import annotations

from collections.abc import Sequence

from avcil.reporting.charts import line_styles, sparkline
from avcil.reporting.svg import escape
from avcil.reporting.table import figure, percent
from avcil.runs import metrics
from avcil.runs.groups import RunGroup, average, last, mean_forgetting
from avcil.runs.predictions import ClassRow
from avcil.runs.run_files import RunRecord

DEFINITIONS = {
    "average_incremental_accuracy": "mean over the steps of the accuracy on all classes seen",
    "average_incremental_accuracy_task_mean": "the same with the plain mean over tasks at each step",
    "last_accuracy": "accuracy on all classes after the last step",
    "last_accuracy_task_mean": "plain mean over tasks after the last step",
    "forgetting": "best accuracy before the last step minus the last, mean over earlier tasks",
    "mean_forgetting": "mean over the steps after the first of the forgetting at each",
    "forgetting_all_max": "forgetting with the best over all steps, the last included",
    "forgetting_first": "accuracy when new minus accuracy after the last step",
    "backward_transfer": "accuracy after the last step minus accuracy when new",
    "backward_transfer_all": "the same over every later step",
    "accuracy_lower_triangle": "mean of the whole accuracy matrix",
    "intransigence": "the joint run's accuracy on new classes minus this run's, mean over the steps",
    "forward_transfer": "undefined: classes not yet seen have no output to measure",
}


FLIPS = {"flip-light": 0.81, "flip-dark": 0.61}
"""From these strengths of a cell on, white (in the dark mode black) stands out better from it than the
other, so that a figure's contrast is about 4.5 or more in every cell."""


def scroll(content: str, name: str, css: str = "") -> str:
    """A region that scrolls by itself, by touch, mouse or keyboard."""
    return (
        f'<div class="{f"scroll {css}".strip()}" role="region" tabindex="0" aria-label="{escape(name)}">'
        f"{content}</div>"
    )


def html_table(name: str, head: str, body: str, css: str) -> str:
    """A table in a region of its own; its name is for those who hear the page."""
    inner = f'<caption class="unseen">{escape(name)}</caption><thead><tr>{head}</tr></thead>{body}'
    return scroll(f'<table class="{css}">{inner}</table>', name, "tall" if css == "sortable" else "")


def column(title: str, css: str = "") -> str:
    """A column's heading."""
    return f'<th scope="col" class="{css}">{title}</th>' if css else f'<th scope="col">{title}</th>'


def seconds(value: float) -> str:
    """Seconds with as many digits as matter.

    >>> seconds(7.26), seconds(1234.5)
    ('7.3', '1,234')
    """
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def runs_table(groups: Sequence[RunGroup]) -> str:
    """The headline: a row an experiment, and under those with several seeds a row each run."""
    head = column("Method") + column("Modality", "desk")
    head += column("Average incremental accuracy", "num") + column("Last accuracy", "num")
    head += column("Mean forgetting", "num") + column("Accuracy per step", "line-cell")
    head += column("Seconds", "num") + column("Seed", "num")
    bodies = []
    for group, style in zip(groups, line_styles(groups), strict=True):
        rows = [_group_row(group, style)]
        if len(group.runs) > 1:
            rows += [_seed_row(run, style) for run in group.runs]
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    note = '<p class="note">Accuracies and forgetting in percent.</p>'
    return note + html_table("Runs", head, "".join(bodies), "runs")


def _group_row(group: RunGroup, style: str) -> str:
    seeds = ", ".join(map(str, group.seeds))
    if len(group.runs) > 1:
        seeds += f' <span class="soft">(n = {len(group.runs)})</span>'
    difference = f'<span class="soft">{escape(group.difference)}</span>' if group.difference else ""
    modality = escape(group.modality)
    return (
        f'<tr><th scope="row"><i class="key {style}"></i>{escape(group.method)} {difference}'
        f'<span class="phone soft">{modality}</span></th><td class="desk">{modality}</td>'
        f'<td class="num strong">{percent(group.spread(average))}</td>'
        f'<td class="num">{percent(group.spread(last))}</td>'
        f'<td class="num">{percent(group.spread(mean_forgetting))}</td>'
        f'<td class="line-cell">{sparkline([x.mean for x in group.accuracy_per_step], style)}</td>'
        f'<td class="num">{seconds(group.spread(lambda run: run.results.seconds).mean)}</td>'
        f'<td class="num">{seeds}</td></tr>'
    )


def _seed_row(run: RunRecord, style: str) -> str:
    return (
        f'<tr class="single"><th scope="row">{escape(run.folder.name)}</th><td class="desk"></td>'
        f'<td class="num">{figure(average(run))}</td><td class="num">{figure(last(run))}</td>'
        f'<td class="num">{figure(mean_forgetting(run))}</td>'
        f'<td class="line-cell">{sparkline(run.accuracy_per_step, style)}</td>'
        f'<td class="num">{seconds(run.results.seconds)}</td><td class="num">{run.seed}</td></tr>'
    )


def steps_table(groups: Sequence[RunGroup]) -> str:
    """The accuracy after every step, a row an experiment: the figures of the chart."""
    steps = max(group.steps for group in groups)
    head = column("After step") + "".join(column(str(s + 1), "num") for s in range(steps))
    rows = []
    for group in groups:
        spreads = [*group.accuracy_per_step, *[None] * (steps - group.steps)]
        cells = "".join(f'<td class="num">{"" if x is None else percent(x)}</td>' for x in spreads)
        rows.append(f'<tr><th scope="row">{escape(group.label)}</th>{cells}</tr>')
    note = '<p class="note">Percent, over all classes seen.</p>'
    return note + html_table("Accuracy after every step", head, f"<tbody>{''.join(rows)}</tbody>", "figures")


def matrix_table(run: RunRecord) -> str:
    """The accuracy matrix as a heat map that is a table: cells carry their figure and their strength."""
    steps = len(run.steps)
    digits = 1 if steps <= 10 else 0
    head = column("After step")
    for i, labels in enumerate(run.steps):
        head += f'<th scope="col" title="{escape(", ".join(labels))}">{i + 1}</th>'
    head += column("All seen", "num")
    rows = []
    for s in range(steps):
        cells = "".join(_heat_cell(float(run.R[s, i]), digits) for i in range(s + 1))
        cells += "<td></td>" * (steps - s - 1)
        cells += f'<td class="num strong">{figure(run.accuracy_per_step[s])}</td>'
        rows.append(f'<tr><th scope="row">{s + 1}</th>{cells}</tr>')
    sizes = (
        "".join(f"<td>{size:.0f}</td>" for size in run.n) + f'<td class="num strong">{run.n.sum():.0f}</td>'
    )
    foot = f'<tfoot><tr><th scope="row">Test clips</th>{sizes}</tr></tfoot>'
    return html_table("Accuracy matrix", head, f"<tbody>{''.join(rows)}</tbody>{foot}", "heat")


def _heat_cell(value: float, digits: int) -> str:
    css = "".join(f" {name}" for name, flip in FLIPS.items() if value >= flip)
    return f'<td class="cell{css}" style="--v:{100 * value:.0f}%">{100 * value:.{digits}f}</td>'


def class_table(rows: Sequence[ClassRow]) -> str:
    """Every class after the last step; each column sorts."""
    titles = {"Class": "", "Step": "num", "Clips": "num", "Accuracy, %": "num", "Most confused with": ""}
    head = "".join(column(f'<button type="button">{title}</button>', css) for title, css in titles.items())
    body = "".join(map(_class_row, rows))
    return html_table("Classes after the last step", head, f"<tbody>{body}</tbody>", "sortable")


def _class_row(row: ClassRow) -> str:
    confused = (
        f'{escape(row.most_confused_with)} <span class="soft">{row.confusions}×</span>'
        if row.most_confused_with is not None
        else '<span class="soft">none</span>'
    )
    share = 0.0 if row.accuracy is None else row.accuracy
    return (
        f'<tr><th scope="row">{escape(row.label)}</th><td class="num" data-v="{row.step}">{row.step + 1}</td>'
        f'<td class="num" data-v="{row.clips}">{row.clips}</td>'
        f'<td class="num meter" data-v="{share if row.clips else -1}" style="--v:{100 * share:.0f}%">'
        f"{figure(row.accuracy)}</td><td>{confused}</td></tr>"
    )


def metrics_table(run: RunRecord, joint: RunRecord | None) -> str:
    """Every metric under its own name; intransigence against `joint`, where the report has such a run."""
    values = metrics.all_metrics(run.R, run.n, None if joint is None else joint.R)
    rows = "".join(
        f'<tr><th scope="row"><code>{name}</code></th><td class="num">{figure(values[name])}</td>'
        f'<td class="soft">{meaning}</td></tr>'
        for name, meaning in DEFINITIONS.items()
    )
    note = (
        '<p class="note">Percent. Intransigence needs a joint run of the same steps, modality and seed in '
        "this report.</p>"
    )
    head = column("Name") + column("Value", "num") + column("Definition")
    return note + html_table("All metrics", head, f"<tbody>{rows}</tbody>", "metrics")
