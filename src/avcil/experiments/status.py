"""What of a plan is done: each run's folder is looked at; one that holds something else is refused."""

from __future__ import annotations

from dataclasses import dataclass

from avcil.errors import InputError
from avcil.experiments.plan import Plan, PlannedRun
from avcil.runs.run_directory import RunDirectory
from avcil.training.resolve import resolve


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Done and still to do, in the plan's order."""

    done: tuple[PlannedRun, ...]
    left: tuple[PlannedRun, ...]
    begun: frozenset[str]
    """Names of runs left that go on from where they were stopped."""


def plan_status(plan: Plan, *, threads: int) -> Standing:
    """Check every run of the plan against its store and its folder, before any work.

    Raises InputError for options that do not fit, two rows that are the same runs, a folder that holds a run
    of another configuration, and runs begun with another number of threads.
    """
    done: list[PlannedRun] = []
    left: list[PlannedRun] = []
    begun = set()
    contents: dict[str, str] = {}
    for run in plan.runs:
        config = resolve(run.config, plan.store_of(run)).run_config
        same = contents.setdefault(repr(config), run.row)
        if same != run.row:
            raise InputError(
                f"the rows {same} and {run.row} are the same runs; drop one of them from --methods"
            )
        directory = RunDirectory(run.config.out)
        if directory.begun(config):
            _check_threads(run, directory.threads, threads)
            begun.add(run.name)
        (done if directory.paths.is_finished else left).append(run)
    return Standing(done=tuple(done), left=tuple(left), begun=frozenset(begun & {run.name for run in left}))


def _check_threads(run: PlannedRun, before: int | None, threads: int) -> None:
    """Sums are rounded in another order with other threads, so one table has one number of them."""
    if before != threads:
        raise InputError(
            f"{run.config.out} was begun with --threads {before}, now {threads}; the last bits of results "
            f"depend on it. Give --threads {before}, or another --out"
        )
