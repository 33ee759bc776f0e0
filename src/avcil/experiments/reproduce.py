"""`avcil reproduce`: plan the runs, train those that are not finished, write tables."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.outputs import write_outputs
from avcil.experiments.plan import Plan, make_plan
from avcil.experiments.results import DatasetResults, read_dataset_results
from avcil.experiments.runner import LocalRunner, Outcome, Runner
from avcil.experiments.status import PlanStatus, plan_status
from avcil.runs.run_directory import RunDirectory
from avcil.training.tracking import require_tracker
from avcil.utils.files import folder_lock
from avcil.utils.progress import Progress
from avcil.utils.text_table import text_table


@dataclass(frozen=True, kw_only=True, eq=False)
class Reproduction:
    """The outcome of `reproduce`."""

    plan: Plan
    datasets: list[DatasetResults]
    text: str
    """The tables as text."""
    failed: tuple[Outcome, ...]
    """Failed runs; the same command trains them again."""


def reproduce(config: ReproduceConfig, *, runner: Runner | None = None, quiet: bool = False) -> Reproduction:
    """Train the runs of the plan that are not finished, then write the tables into `config.out`.

    Args:
        config: The options.
        runner: Trains the runs; by default chosen by the options.
        quiet: Whether to print no progress.

    Raises:
        InputError: A name, a store or the output folder is invalid. No run was started.
    """
    _require_packages(config)
    require_tracker(config.track)
    plan = make_plan(config)
    _check_out(config.out)
    with folder_lock(config.out, "reproducing a table"):
        status = plan_status(plan, threads=config.threads)
        failed = _train_remaining(plan, status, runner or _runner_for(config), quiet=quiet)
        datasets = read_dataset_results(plan)
        text = write_outputs(plan, datasets, config.out, threads=config.threads, plots=config.plot)
    return Reproduction(plan=plan, datasets=datasets, text=text, failed=tuple(failed))


def _require_packages(config: ReproduceConfig) -> None:
    needed = ("scipy", "matplotlib") if config.plot else ("scipy",)
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"avcil reproduce needs {' and '.join(missing)}. Install with: pip install 'avcil[reproduce]'"
        )


def _runner_for(config: ReproduceConfig) -> Runner:
    if config.ray is None:
        return LocalRunner(jobs=config.parallel, threads=config.threads)
    from avcil.experiments.ray_runner import RayRunner

    return RayRunner(address=config.ray, threads=config.threads)


def describe_plan(config: ReproduceConfig) -> str:
    """The plan as text: each run and its state."""
    plan = make_plan(config)
    status = plan_status(plan, threads=config.threads)
    finished = {run.name for run in status.finished}
    rows = []
    for run in plan.runs:
        state = "started" if run.name in status.started else "not started"
        state = "finished" if run.name in finished else state
        rows.append([run.name, f"{run.config.epochs:>4} epochs", state, " ".join(run.config.set)])
    counts = f"{len(plan.runs)} runs: {len(finished)} finished, {len(status.started)} started, "
    counts += f"{len(status.remaining) - len(status.started)} not started"
    parallel = min(config.parallel, len(plan.runs))
    summary = f"{counts}; {parallel} in parallel, {config.threads} thread(s) each"
    return "\n".join([text_table(rows, names=4), *_plan_notes(plan), summary])


def _plan_notes(plan: Plan) -> list[str]:
    notes = [f"{dataset}: {note}" for dataset, note in plan.notes]
    return notes + [
        f"left out on {dataset.name}: {text}"
        for dataset in plan.datasets
        for text in plan.left_out_of(dataset.name)
    ]


def _check_out(out: Path) -> None:
    """Refuse a folder with files that `avcil reproduce` does not write."""
    folders = {".lock", "runs", "failures"}
    files = ("table", "results", "summary", "timing", "frontier")
    if not out.is_dir():
        return
    for entry in out.iterdir():
        if entry.name not in folders and not entry.name.lstrip(".").startswith(files):
            raise InputError(
                f"{out} has {entry.name!r}, which is not a file of avcil reproduce; choose another --out"
            )


def _train_remaining(plan: Plan, status: PlanStatus, runner: Runner, *, quiet: bool) -> list[Outcome]:
    """Train the runs that are not finished and return those that failed. Prints a line for each."""
    total, failed = len(plan.runs), []
    notes = [*_plan_notes(plan), *filter(None, (each.missing_clips for each in plan.datasets))]
    if status.finished:
        notes.append(f"{len(status.finished)} of {total} runs are finished already")
    with Progress(total, "runs", initial=len(status.finished), leave=False, quiet=quiet) as bar:
        if notes and not quiet:
            bar.write("\n".join(notes))
        for number, outcome in enumerate(runner.outcomes(status.remaining), len(status.finished) + 1):
            if outcome.results is None:
                failed.append(outcome)
            else:  # tensors of all steps of hundreds of runs can fill a disk
                RunDirectory(outcome.run.config.out).remove_earlier_tensors()
            bar.update()
            if not quiet:
                bar.write(f"[{number}/{total}] {_outcome_text(outcome)}")
    return failed


def _outcome_text(outcome: Outcome) -> str:
    results = outcome.results
    if results is None:
        return f"{outcome.run.name}: failed: {outcome.message}"
    average, last = results["average_incremental_accuracy"], results["last_accuracy"]
    text = f"{100 * average:.1f} % average, {100 * last:.1f} % last, {results['seconds']:.0f} s"
    return f"{outcome.run.name}: {text}"


def failures_text(failed: Sequence[Outcome]) -> str:
    """The failed runs and the reasons."""
    lines = [f"  {outcome.run.name}: {outcome.message}" for outcome in failed]
    return f"{len(failed)} run(s) failed; the same command trains them again:\n" + "\n".join(lines)
