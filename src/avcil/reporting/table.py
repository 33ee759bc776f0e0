"""The table of runs for a terminal or a document.

One row per experiment. For several seeds, the mean, and in the summary columns also ± the sample standard deviation.
In percent.
"""

from __future__ import annotations

from collections.abc import Sequence

from avcil.runs.groups import RunGroup, Spread, average, group_runs, last, mean_forgetting
from avcil.runs.run_files import RunRecord
from avcil.utils.text_table import text_table

MAX_STEPS = 6
"""How many steps get a column; of more, as many are shown, evenly spaced, first and last among them."""


def percent(spread: Spread | None, digits: int = 1) -> str:
    """A fraction for people, in percent: the mean, and ± the deviation over several runs.

    >>> percent(Spread(mean=0.7082, std=0.013, n=3))
    '70.8 ± 1.3'
    >>> percent(None)
    '–'
    """
    if spread is None:
        return "–"
    mean = figure(spread.mean, digits)
    return mean if spread.std is None else f"{mean} ± {figure(spread.std, digits)}"


def figure(value: float | None, digits: int = 1) -> str:
    """One fraction for people, in percent; a dash where it is undefined, and never a minus zero.

    >>> figure(-0.03), figure(-0.0001), figure(None)
    ('−3.0', '0.0', '–')
    """
    if value is None:
        return "–"
    return f"{round(100 * value, digits) + 0.0:.{digits}f}".replace("-", "−")


def shown_steps(steps: int, most: int = MAX_STEPS) -> list[int]:
    """The steps that get a column, counted from 0.

    >>> shown_steps(17)
    [0, 3, 6, 10, 13, 16]
    """
    if steps <= most:
        return list(range(steps))
    return [round(i * (steps - 1) / (most - 1)) for i in range(most)]


def summary_table(runs: Sequence[RunRecord], *, markdown: bool = False) -> str:
    """A table of runs: method, modality, accuracy after each step, average, last, mean forgetting.

    `markdown` gives a Markdown table, else columns are aligned with blanks for a terminal. The same runs give
    the same text.
    """
    groups = group_runs(runs)
    steps = max(group.steps for group in groups)
    columns = shown_steps(steps)
    header = ["method", "modality", *(f"step {s + 1}" for s in columns), "average", "last", "forgetting"]
    rows = [_row(group, columns) for group in groups]
    if any(len(group.runs) > 1 for group in groups):
        header.insert(2, "seeds")
        for row, group in zip(rows, groups, strict=True):
            row.insert(2, str(len(group.runs)))
    return _markdown(header, rows) if markdown else text_table(rows, header, names=2, rule=True) + "\n"


def _row(group: RunGroup, columns: Sequence[int]) -> list[str]:
    method = f"{group.method} ({group.difference})" if group.difference else group.method
    accuracies = group.accuracy_per_step
    return [
        method,
        group.modality,
        *(figure(accuracies[s].mean) if s < len(accuracies) else "" for s in columns),
        percent(group.spread(average)),
        percent(group.spread(last)),
        percent(group.spread(mean_forgetting)),
    ]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join(" --- " if i < 2 else " ---: " for i in range(len(header))) + "|"
    return "\n".join([line(header), rule, *map(line, rows)]) + "\n"
