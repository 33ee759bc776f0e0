"""Checks of cores, memory, the folder of runs, and Ray."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from avcil.doctor.result import CheckResult, pass_or_fail
from avcil.errors import AvcilError
from avcil.utils.cores import available_cores

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The bytes of memory that a container may use, or "max"."""
_SMALL_MEMORY = 2 * 2**30
MIN_FREE = 2**30
"""Bytes of disk; the features of 1000 clips of VideoMAE take 2.4 GB."""


def machine() -> Iterator[CheckResult]:
    """Cores, memory and threads."""
    import torch

    cores, threads = available_cores(), torch.get_num_threads()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _CONTAINER_LIMIT.read_text().strip() if _CONTAINER_LIMIT.exists() else "max"
    memory = total if limit == "max" else min(total, int(limit))
    advice = []
    if memory < _SMALL_MEMORY:
        advice.append("little memory: use avcil extract --workers 1 and small batches")
    if threads > cores:
        advice.append(f"set OMP_NUM_THREADS={cores}: more threads than cores wait for each other")
    yield CheckResult(
        status="ok",
        name="machine",
        detail=f"{platform.system()} {platform.machine()}, {cores} cores, {memory / 2**30:.1f} GiB of memory, "
        f"{threads} thread{'s' if threads > 1 else ''} in PyTorch",
        advice="; ".join(advice),
    )


def runs_folder(out: Path) -> Iterator[CheckResult]:
    """Whether files can be written, locked and removed in the folder of runs, and how much space is free."""
    from avcil.utils.files import folder_lock, write_text

    folder = next(path for path in (out.absolute(), *out.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryDirectory(prefix=".avcil-doctor-", dir=folder) as name:
            write_text(Path(name) / "written", "first")
            with folder_lock(Path(name), "checking"):
                write_text(Path(name) / "written", "second")
        free = shutil.disk_usage(folder).free
    except (OSError, AvcilError) as error:
        detail = f"cannot write in {folder}: {getattr(error, 'strerror', None) or error}"
        advice = "make it writable, or use another --out; avcil doctor --out FOLDER checks it"
    else:
        detail = f"{folder} can be written; {free / 2**30:.1f} GiB free"
        advice = "free some space, or use an --out on another disk" if free < MIN_FREE else ""
    yield pass_or_fail("runs", not advice, detail, advice=advice)


def ray_cluster() -> Iterator[CheckResult]:
    """Whether Ray starts on this machine and computes."""
    from avcil.utils.ray_cluster import connected

    began = time.perf_counter()
    with connected("local") as ray:
        square = ray.remote(lambda number: number**2)
        squares = ray.get([square.remote(2), square.remote(3)])
    seconds = time.perf_counter() - began
    detail = f"{metadata.version('ray')} started and computed {squares} in {seconds:.1f} s"
    advice = "pip install --force-reinstall 'avcil[distributed]'"
    yield pass_or_fail("ray", squares == [4, 9], detail, advice=advice, required=False)
