"""Runs on a Ray cluster: each run is a task, scheduled and retried by Ray.

All nodes must have the run directories and the stores at the same paths. When a node fails, Ray starts its runs again
on another node, and they resume from their last checkpoint. Needs the extra `[distributed]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avcil.experiments.runner import Job, Outcome
from avcil.utils.ray_cluster import connected, need_ray

RETRIES = 3
"""How often Ray restarts a run whose worker or node failed."""


class RayRunner:
    """A `Runner` on the cluster at `address`: HOST:PORT, "auto" for the one on this machine, "local" for a new one."""

    def __init__(self, *, address: str, threads: int) -> None:
        need_ray()
        self.address, self.threads = address, threads

    def outcomes(self, runs: Sequence[Job]) -> Iterator[Outcome]:
        with connected(self.address) as ray:
            task = ray.remote(num_cpus=self.threads, max_retries=RETRIES)(_run_in_worker)
            pending = {task.remote(_as_json(run), self.threads): run for run in runs}
            while pending:
                (finished,), _ = ray.wait(list(pending), num_returns=1)
                run = pending.pop(finished)
                try:
                    yield Outcome(run=run, **ray.get(finished))
                except ray.exceptions.RayError as error:
                    first = str(error).strip().splitlines()[0]
                    message = f"the worker failed {RETRIES + 1} times on the cluster: {first}"
                    yield Outcome(run=run, results=None, message=message)


def _as_json(run: Job) -> str:
    """A run's configuration with absolute paths, because workers have another working directory."""
    value = {
        key: item.absolute() if isinstance(item, Path) else item for key, item in asdict(run.config).items()
    }
    return json.dumps(value, default=str)


def _run_in_worker(config: str, threads: int) -> dict[str, Any]:
    import torch

    from avcil.experiments.worker import config_from, run_job

    torch.set_num_threads(threads)
    return run_job(config_from(json.loads(config)))
