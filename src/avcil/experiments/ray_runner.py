"""Runs on a Ray cluster: each run is a task, placed and retried by Ray.

The nodes must share the run directories and the stores, on the same paths. A node that dies takes its runs with it;
Ray starts them again elsewhere, and they go on from their last checkpoint. Needs the extra `[distributed]`.
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
"""How often Ray starts a run again whose worker or node died."""


class RayRunner:
    """A `Runner` on the cluster at `address`: HOST:PORT, "auto" for the one of this machine, "local" for a new one."""

    def __init__(self, *, address: str, threads: int) -> None:
        need_ray()
        self.address, self.threads = address, threads

    def outcomes(self, runs: Sequence[Job]) -> Iterator[Outcome]:
        with connected(self.address) as ray:
            task = ray.remote(num_cpus=self.threads, max_retries=RETRIES)(_carry_out)
            waiting = {task.remote(_as_json(run), self.threads): run for run in runs}
            while waiting:
                (ended,), _ = ray.wait(list(waiting), num_returns=1)
                run = waiting.pop(ended)
                try:
                    yield Outcome(run=run, **ray.get(ended))
                except ray.exceptions.RayError as error:
                    first = str(error).strip().splitlines()[0]
                    yield Outcome(
                        run=run, results=None, message=f"lost {RETRIES + 1} times on the cluster: {first}"
                    )


def _as_json(run: Job) -> str:
    """A run's configuration with absolute paths, since workers stand elsewhere."""
    value = {
        key: item.absolute() if isinstance(item, Path) else item for key, item in asdict(run.config).items()
    }
    return json.dumps(value, default=str)


def _carry_out(config: str, threads: int) -> dict[str, Any]:
    """One run in a Ray worker."""
    import torch

    from avcil.experiments.worker import config_from, run_jobs

    torch.set_num_threads(threads)
    return run_jobs(config_from(json.loads(config)))
