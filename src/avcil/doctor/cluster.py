"""Whether Ray is installed and, if asked, starts here and works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

from avcil.doctor.finding import CheckResult, not_installed


def ray_cluster(start: bool) -> Iterator[CheckResult]:
    """Ray's version; with `start`, a cluster of this machine that does two small things."""
    if find_spec("ray") is None:
        yield not_installed("ray", "--ray cannot spread work over machines", "distributed")
        return
    version = metadata.version("ray")
    if not start:
        yield CheckResult(
            status="ok",
            what="ray",
            figure=f"{version} is installed; it was not started",
            advice="avcil doctor --ray starts it",
            core=False,
        )
        return
    began = time.perf_counter()
    squares = _squares()
    figure = f"{version} started here and worked in {time.perf_counter() - began:.1f} s"
    right = squares == [4, 9]
    yield CheckResult(
        status="ok" if right else "broken",
        what="ray",
        figure=figure if right else f"{version} gave {squares} for the squares of 2 and 3",
        advice="" if right else "pip install --force-reinstall 'avcil[distributed]'",
        core=False,
    )


def _squares() -> list[int]:
    """Of 2 and 3, by Ray's workers."""
    from avcil.utils.ray_cluster import connected

    with connected("local") as ray:
        square = ray.remote(lambda number: number**2)
        return ray.get([square.remote(2), square.remote(3)])
