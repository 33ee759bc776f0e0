"""Status of the runs of a plan: finished, started or not started."""

from __future__ import annotations

from dataclasses import dataclass

from avcil.errors import InputError
from avcil.experiments.plan import Plan, PlannedRun
from avcil.runs.run_directory import RunDirectory
from avcil.training.resolve import resolve


@dataclass(frozen=True, kw_only=True)
class PlanStatus:
    """The runs in the order of the plan."""

    finished: tuple[PlannedRun, ...]
    remaining: tuple[PlannedRun, ...]
    started: frozenset[str]
    """Names of remaining runs that will be resumed."""


def plan_status(plan: Plan, *, threads: int) -> PlanStatus:
    """Compare each run of the plan with its feature store and run directory.

    Raises:
        InputError: Options are invalid, two rows have the same runs, a folder has a run with other settings, or a run
            was started with another number of threads.
    """
    finished: list[PlannedRun] = []
    remaining: list[PlannedRun] = []
    started: list[str] = []
    row_of_config: dict[str, str] = {}
    for run in plan.runs:
        config = resolve(run.config, plan.store_of(run)).run_config
        same = row_of_config.setdefault(repr(config), run.row)
        if same != run.row:
            raise InputError(
                f"the rows {same} and {run.row} have the same runs; remove one of them from --methods"
            )
        directory = RunDirectory(run.config.out)
        is_finished = directory.paths.is_finished
        if directory.has_run_of(config):
            if directory.threads != threads:  # sums are rounded differently
                raise InputError(
                    f"{run.config.out} was started with --threads {directory.threads}, now {threads}; the last bits "
                    f"of results depend on it. Give --threads {directory.threads}, or another --out"
                )
            if not is_finished:
                started.append(run.name)
        (finished if is_finished else remaining).append(run)
    return PlanStatus(finished=tuple(finished), remaining=tuple(remaining), started=frozenset(started))
