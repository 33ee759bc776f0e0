"""The report: a self-contained HTML page about one or more runs.

The page contains its style, script, charts and images; a content security policy forbids external resources. It has
a light and a dark mode and can be printed. The same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from avcil.errors import InputError
from avcil.reporting.attention import ExplainedRun, attention_section
from avcil.reporting.attention_figure import STYLE
from avcil.reporting.charts import MAX_DIRECT_LABELS, accuracy_chart, line_styles
from avcil.reporting.report_tables import runs_table, steps_table
from avcil.reporting.run_section import run_section
from avcil.reporting.svg import escape
from avcil.runs.groups import RunGroup, group_runs
from avcil.runs.run_files import RunRecord
from avcil.utils.files import write_text

MAX_BYTES = 5_000_000
"""Size limit of the page. Details of runs that would exceed it are omitted, with a note on the page."""


def write_report(
    runs: Sequence[RunRecord],
    out: Path,
    *,
    explained: Sequence[ExplainedRun] = (),
    title: str | None = None,
) -> None:
    """Write the report.

    Args:
        runs: Finished runs, one or more.
        out: The HTML file.
        explained: Explanations of test clips.
        title: Of the page; by default with the name of the benchmark.

    Raises:
        InputError: There are no runs, or `out` cannot be written.
    """
    out = Path(out)
    if out.is_dir():
        raise InputError(
            f"{out} is a folder; name the HTML file to write, for example --out {out / 'report.html'}"
        )
    write_text(out, report_page(runs, explained, title))


def report_page(
    runs: Sequence[RunRecord],
    explained: Sequence[ExplainedRun] = (),
    title: str | None = None,
) -> str:
    """The report's HTML; see `write_report`."""
    if not runs:
        raise InputError("a report needs one run or more")
    groups = group_runs(runs)
    names = _names(groups)
    named = [("" if run.record is None else names[run.record.folder], run) for run in explained]
    head = _results(groups) + attention_section(named)
    values = {
        "title": escape(title or _title(groups)),
        "lede": _lede(groups),
        "style": _asset("report.css") + _asset(STYLE.name),
        "script": _asset("report.js"),
    }
    before, after = (Template(part).substitute(values) for part in _asset("report.html").split("$body"))
    size = len((before + head + after).encode())
    return before + head + _runs(groups, names, MAX_BYTES - size) + after


def _asset(name: str) -> str:
    return (resources.files("avcil.reporting") / "assets" / name).read_text(encoding="utf-8")


def _title(groups: Sequence[RunGroup]) -> str:
    # "own" is the name of all benchmarks made from a user's clips.
    names = {group.runs[0].config.benchmark.name for group in groups} - {"own"}
    return f"Class-incremental learning: {names.pop()}" if len(names) == 1 else "Class-incremental learning"


def _lede(groups: Sequence[RunGroup]) -> str:
    """A sentence about the runs, and a warning if their metrics are not comparable."""
    layouts = {group.runs[0].steps for group in groups}
    runs = sum(len(group.runs) for group in groups)
    counted = f"{runs} run{'s' if runs > 1 else ''} of {len({g.method for g in groups})} " + (
        "methods" if len({g.method for g in groups}) > 1 else "method"
    )
    if len(layouts) > 1:
        return f"{counted}. The runs belong to different benchmarks: their metrics are not comparable."
    steps = groups[0].runs[0].steps
    clips = f"{groups[0].runs[0].n.sum():.0f}"
    return f"{_layout(steps)}, {clips} test clips; {counted}."


def _layout(steps: Sequence[Sequence[str]]) -> str:
    classes = sum(map(len, steps))
    sizes = sorted({len(step) for step in steps})
    if len(steps) == 1:
        return f"{classes} classes in one step"
    each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"{classes} classes in {len(steps)} steps of {each}"


def _results(groups: Sequence[RunGroup]) -> str:
    direct = len(groups) <= MAX_DIRECT_LABELS
    wide = accuracy_chart(groups, width=1060, height=400, labels=direct)
    middling = accuracy_chart(groups, width=680, height=340, labels=direct)
    narrow = accuracy_chart(groups, width=343, height=260, labels=False)
    keys = "".join(
        f'<li class="{style}"><i class="key {style}"></i><span>{escape(group.label)}</span></li>'
        for group, style in zip(groups, line_styles(groups), strict=True)
    )
    css = "legend narrow" if direct else "legend"
    band = " The band is ± one standard deviation over seeds." if any(len(g.runs) > 1 for g in groups) else ""
    dashes = (
        " Dashed lines: visual features only; dotted lines: audio features only."
        if len({g.modality for g in groups}) > 1
        else ""
    )
    return (
        f'<section id="results"><h2>Results</h2>{runs_table(groups)}</section>'
        '<section id="steps"><h2>Accuracy over steps</h2>'
        f'<p class="note">On the test clips of the classes of this step and of earlier ones.{dashes}{band}</p>'
        f'<figure class="plain"><div class="wide">{wide}</div><div class="middling">{middling}</div>'
        f'<div class="narrow">{narrow}</div>'
        f'<ul class="{css}">{keys}</ul></figure>'
        f'<details class="small"><summary>Values</summary>{steps_table(groups)}</details></section>'
    )


def _names(groups: Sequence[RunGroup]) -> dict[Path, str]:
    """The name of each run by its folder: the group, and the seed if the group has several runs."""
    return {
        run.folder: group.label + (f", seed {run.seed}" if len(group.runs) > 1 else "")
        for group in groups
        for run in group.runs
    }


def _runs(groups: Sequence[RunGroup], names: dict[Path, str], max_bytes: int) -> str:
    """The sections of the runs, up to `max_bytes`."""
    runs = [run for group in groups for run in group.runs]
    labels = {run.folder: group.label for group in groups for run in group.runs}
    sections: list[str] = []
    for number, run in enumerate(runs, 1):
        section = run_section(run, labels[run.folder], number, _joint_of(run, runs))
        max_bytes -= len(section.encode())
        if max_bytes < 0:
            break
        sections.append(section)
    note = ""
    if omitted := [names[run.folder] for run in runs[len(sections) :]]:
        note = (
            '<p class="note">To limit the size of the page, details are omitted for: '
            f"{escape('; '.join(omitted))}. Write a report of fewer runs to see them.</p>"
        )
    return f'<section id="runs"><h2>Runs</h2>{"".join(sections)}{note}</section>'


def _joint_of(run: RunRecord, runs: Sequence[RunRecord]) -> RunRecord | None:
    """The run of joint training for intransigence: the same clips, stream, steps, modality and seed."""
    if run.method == "joint":
        return None

    def key(one: RunRecord) -> tuple[object, ...]:
        return one.config.store_fingerprint, one.config.stream, one.steps, one.modality, one.seed

    return next((other for other in runs if other.method == "joint" and key(other) == key(run)), None)
