"""Plan, run, tabulate: the function behind `avcil reproduce`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.outputs import write_outputs
from avcil.experiments.plan import Plan, make_plan
from avcil.experiments.results import Figures, read_figures
from avcil.experiments.runner import LocalRunner, Outcome, Runner
from avcil.experiments.status import Standing, plan_status
from avcil.training.tracking import require
from avcil.utils.files import folder_lock
from avcil.utils.progress import Progress
from avcil.utils.text_table import text_table


@dataclass(frozen=True, kw_only=True, eq=False)
class Reproduction:
    """What came of it."""

    figures: list[Figures]
    text: str
    """The tables for a terminal."""
    failed: tuple[Outcome, ...]
    """Runs that failed; the same command tries them again."""


def reproduce(config: ReproduceConfig, *, runner: Runner | None = None, quiet: bool = False) -> Reproduction:
    """Carry out what is left of the plan, then write its tables into `config.out`.

    Raises InputError before any run starts for whatever does not fit: names, stores, folders of other runs.
    """
    _require_packages(config)
    require(config.track)
    plan = make_plan(config)
    _check_out(config.out)
    with folder_lock(config.out, "reproducing a table"):
        standing = plan_status(plan, threads=config.threads)
        runner = runner or _runner_for(config)
        failed = _carry_out(plan, standing, runner, quiet=quiet)
        figures = read_figures(plan)
        text = write_outputs(plan, figures, config.out, threads=config.threads, plots=config.plot)
    return Reproduction(figures=figures, text=text, failed=tuple(failed))


def _require_packages(config: ReproduceConfig) -> None:
    missing = [
        name for name in ("scipy", *(["matplotlib"] if config.plot else [])) if not _is_installed(name)
    ]
    if missing:
        raise InputError(
            f"avcil reproduce needs {' and '.join(missing)}. Install with: pip install 'avcil[reproduce]'"
        )


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _runner_for(config: ReproduceConfig) -> Runner:
    """Ray's where a cluster is named, else worker processes of this machine."""
    if config.ray is None:
        return LocalRunner(jobs=config.parallel, threads=config.threads)
    from avcil.experiments.ray_runner import RayRunner

    return RayRunner(address=config.ray, threads=config.threads)


def describe(config: ReproduceConfig) -> str:
    """The plan in words: every run, and how it stands."""
    plan = make_plan(config)
    standing = plan_status(plan, threads=config.threads)
    done = {run.name for run in standing.done}
    rows = []
    for run in plan.runs:
        state = "done" if run.name in done else "begun" if run.name in standing.begun else "to do"
        rows.append([run.name, f"{run.config.epochs:>4} epochs", state, " ".join(run.config.set)])
    lines = [text_table(rows, names=4)]
    lines += [f"{dataset}: {note}" for dataset, note in plan.notes]
    lines += [f"left out on {dataset}: {reason}" for dataset, reason in plan.left_out]
    counts = f"{len(plan.runs)} runs: {len(standing.done)} done, {len(standing.begun)} begun, "
    counts += f"{len(standing.left) - len(standing.begun)} to do"
    at_once = min(config.parallel, len(plan.runs))
    return "\n".join([*lines, f"{counts}; {at_once} at a time, {config.threads} thread(s) each"])


def _check_out(out: Path) -> None:
    """Refuse a folder that is somebody else's before anything is written to it."""
    ours = {".lock", "runs", "failures"}
    files = ("table", "results", "summary", "timing", "frontier")
    if not out.is_dir():
        return
    for entry in out.iterdir():
        if entry.name not in ours and not entry.name.lstrip(".").startswith(files):
            raise InputError(
                f"{out} holds {entry.name!r}, which is nothing of avcil reproduce; choose another --out"
            )


def _carry_out(plan: Plan, standing: Standing, runner: Runner, *, quiet: bool) -> list[Outcome]:
    """Do the runs that are left, a line for each as it ends."""
    total, failed = len(plan.runs), []
    for dataset, note in plan.notes:
        _say(f"{dataset}: {note}", quiet)
    for dataset, reason in plan.left_out:
        _say(f"left out on {dataset}: {reason}", quiet)
    for each in plan.datasets:
        if each.lacking:
            _say(each.lacking, quiet)
    if standing.done:
        _say(f"{len(standing.done)} of {total} runs are finished already", quiet)
    with Progress(total, "runs", initial=len(standing.done), leave=False, quiet=quiet) as bar:
        for number, outcome in enumerate(runner.outcomes(standing.left), len(standing.done) + 1):
            if outcome.results is None:
                failed.append(outcome)
            bar.update()
            _say(f"[{number}/{total}] {_line(outcome)}", quiet)
    return failed


def _line(outcome: Outcome) -> str:
    results = outcome.results
    if results is None:
        return f"{outcome.run.name}: failed: {outcome.message}"
    average, last = results["average_incremental_accuracy"], results["last_accuracy"]
    figures = f"{100 * average:.1f} % average, {100 * last:.1f} % last, {results['seconds']:.0f} s"
    return f"{outcome.run.name}: {figures}"


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        Progress.write(text)


def failures_text(failed: Sequence[Outcome]) -> str:
    """What failed and why."""
    lines = [f"  {outcome.run.name}: {outcome.message}" for outcome in failed]
    return f"{len(failed)} run(s) failed; the same command tries them again:\n" + "\n".join(lines)
