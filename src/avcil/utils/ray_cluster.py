"""Getting hold of a Ray cluster, and letting go of it. Needs the extra `[distributed]`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from avcil.errors import InputError


def need_ray() -> Any:
    """The module `ray`, or an error that says how to get it."""
    try:
        import ray
    except ImportError:
        raise InputError("--ray needs the extra: pip install 'avcil[distributed]'") from None
    return ray


@contextmanager
def connected(address: str, *, threads: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at `address`: HOST:PORT, "auto" for the one of this machine, "local"
    for a new one. What is still at work when the block ends is ended.

    `threads`: of numerical libraries in each worker; unless given, Ray's choice, a worker's cores.

    :raises InputError: if Ray is not installed or there is no such cluster.
    """
    ray = need_ray()
    # Workers of this installation, not of an environment that Ray would build for them.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False,
            runtime_env=None if threads is None else {"env_vars": {"OMP_NUM_THREADS": str(threads)}},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"there is no Ray cluster at {address!r}: {error}. Start one with `ray start --head`, "
            "or give --ray local for one on this machine"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()
