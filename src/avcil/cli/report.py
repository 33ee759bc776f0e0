"""`avcil report`: write an HTML report of finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from avcil.data.modality import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avcil.reporting.attention import ExplainedRun
    from avcil.runs.run_files import RunRecord


@dataclass(frozen=True, kw_only=True)
class Args:
    """Write an HTML report of runs: accuracies, forgetting, confusion matrices, and explanations of test clips."""

    runs: Positional[tuple[Path, ...]]
    """Run directories of `avcil train`. Runs that differ only in the seed are averaged."""
    out: Path
    """The HTML file to write. It contains everything it needs."""
    examples: int = 4
    """Number of test clips explained for each of two runs: the first audio-visual run of a network, and the first
    of a closed-form method. 0 explains none."""


def run(args: Args) -> None:
    """Read the runs, explain clips, write the report."""
    from avcil.errors import InputError
    from avcil.reporting.report import write_report
    from avcil.runs.run_files import read_runs

    if args.examples < 0:
        raise InputError(f"--examples must be 0 or more; not {args.examples}")
    runs = read_runs(args.runs)
    write_report(runs, args.out, explained=_explained(runs, args.examples))
    print(
        f"{args.out} ({args.out.stat().st_size / 1e6:.1f} MB): {len(runs)} run{'s' if len(runs) > 1 else ''}"
    )


def _explained(runs: Sequence[RunRecord], count: int) -> list[ExplainedRun]:
    """Explanations of the first audio-visual runs of a network and of a closed-form method."""
    from avcil.reporting.attention import ExplainedRun

    if not count:
        return []
    candidates = [run for run in runs if run.modality is Modality.AUDIO_VISUAL]
    chosen = [
        next((run for run in candidates if _is_network(run) is network), None) for network in (True, False)
    ]
    runs_to_explain = [run for run in candidates if run in chosen]
    if not runs_to_explain:
        return [ExplainedRun(note="none of these runs uses both audio and visual features")]
    from avcil.inference.explained_clips import explained_clips

    explained = [(run, *explained_clips(run.folder, count)) for run in runs_to_explain]
    return [ExplainedRun(record=run, examples=examples, note=note) for run, examples, note in explained]


def _is_network(run: RunRecord) -> bool:
    """Whether the run trained a network; closed-form methods log no loss."""
    return any(epoch.loss is not None for epoch in run.epochs)
