"""Connection to a Ray cluster. Needs the extra `[distributed]`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from avcil.errors import InputError


def need_ray() -> Any:
    """The module `ray`; an InputError says how to install it."""
    try:
        import ray
    except ImportError:
        raise InputError("--ray needs the extra: pip install 'avcil[distributed]'") from None
    return ray


@contextmanager
def connected(address: str, *, threads: int | None = None) -> Iterator[Any]:
    """Connect to a Ray cluster; at the end of the block, disconnect and cancel unfinished tasks.

    Args:
        address: HOST:PORT, "auto" for the running cluster of this machine, "local" to start one.
        threads: Threads of numerical libraries in each worker; None leaves the choice to Ray.

    Yields:
        The module `ray`.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """
    ray = need_ray()
    # Workers use this installation, not an environment that Ray creates.
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
