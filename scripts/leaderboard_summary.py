"""The summary of the leaderboard: average incremental accuracy of each method on all data sets and streams.

The averages of a data set are kept in NAME.json beside its section, as {stream: {method: accuracy in percent}}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avcil.experiments.results import DatasetResults
from avcil.streams.registry import DEFAULT
from avcil.utils.files import read_json

Averages = dict[str, dict[str, float]]


def averages(results: DatasetResults) -> dict[str, float]:
    """Average incremental accuracy in percent by method, without methods that cannot take part."""
    found = {
        group.row: group.mean_std("average_incremental_accuracy") for group in results.groups if group.runs
    }
    return {row: 100 * value.mean for row, value in found.items() if value is not None}


def summary(work: Path) -> Iterator[str]:
    """The lines of the summary of all data sets in a folder."""
    data: dict[str, Averages] = {path.stem: read_json(path) for path in sorted(work.glob("*.json"))}
    yield from (
        "## Summary",
        "",
        "Average incremental accuracy in percent, mean over the class orders that the sections below name.",
        "",
    )
    yield from ("### Summary, class-incremental", "")
    steps = {name: found[DEFAULT] for name, found in data.items() if DEFAULT in found}
    yield from _table({**steps, "mean": _means(list(steps.values()))})
    streams = dict.fromkeys(stream for found in data.values() for stream in found if stream != DEFAULT)
    names = {stream: [name for name in data if stream in data[name]] for stream in streams}
    if names:
        yield from ("", "### Summary, other streams", "")
        yield from (f"Mean over data sets: {_sources(names)}. Empty: the method cannot take part.", "")
        yield from _table(
            {stream: _means([data[name][stream] for name in found]) for stream, found in names.items()}
        )


def _sources(names: Mapping[str, Sequence[str]]) -> str:
    """The data sets of the streams; those of several streams are named once."""
    streams: dict[str, list[str]] = {}
    for stream, found in names.items():
        streams.setdefault(", ".join(found), []).append(f"`{stream}`")
    if len(streams) == 1:
        return next(iter(streams))
    return "; ".join(f"{found} for {', '.join(having)}" for found, having in streams.items())


def _means(columns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each method that all columns have."""
    rows = [row for row in columns[0] if all(row in column for column in columns)] if columns else []
    return {row: sum(column[row] for column in columns) / len(columns) for row in rows}


def _table(columns: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """A row for each method; methods with values in most columns first, then those with the highest mean."""
    methods = dict.fromkeys(row for column in columns.values() for row in column)
    rows = {row: [column.get(row) for column in columns.values()] for row in methods}
    yield f"| method | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for row, values in sorted(rows.items(), key=lambda item: _rank(item[1]), reverse=True):
        cells = ("" if value is None else f"{value:.1f}" for value in values)
        yield f"| `{row}` | {' | '.join(cells)} |"


def _rank(values: Sequence[float | None]) -> tuple[int, float]:
    present = [value for value in values if value is not None]
    return len(present), sum(present)
