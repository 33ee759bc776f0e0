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
    yield from ("## Summary", "", "Average incremental accuracy in percent.", "")
    yield from ("### Summary, class-incremental", "")
    steps = {name: found[DEFAULT] for name, found in data.items() if DEFAULT in found}
    yield from _table({**steps, "mean": _means(list(steps.values()))})
    streams = list(dict.fromkeys(stream for found in data.values() for stream in found))
    columns, sources = {}, []
    for stream in streams:
        if stream != DEFAULT:
            names = [name for name in data if stream in data[name]]
            columns[stream] = _means([data[name][stream] for name in names])
            sources.append(f"`{stream}` {', '.join(names)}")
    if columns:
        yield from ("", "### Summary, other streams", "")
        yield from (f"Means over data sets: {'; '.join(sources)}. Empty: the method cannot take part.", "")
        yield from _table(columns)


def _means(columns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each method that all columns have."""
    rows = [row for row in columns[0] if all(row in column for column in columns)] if columns else []
    return {row: sum(column[row] for column in columns) / len(columns) for row in rows}


def _table(columns: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """A row for each method, sorted by the last column; methods without a value there are last."""
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    last = list(columns.values())[-1]
    yield f"| method | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for row in sorted(rows, key=lambda row: -last.get(row, 0.0)):
        cells = (f"{column[row]:.1f}" if row in column else "" for column in columns.values())
        yield f"| `{row}` | {' | '.join(cells)} |"
