"""Cores, memory and threads."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from avcil.doctor.finding import CheckResult

LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The memory that a container may use, or "max"."""
SMALL = 2 * 2**30


def machine() -> Iterator[CheckResult]:
    """What there is to compute with."""
    import torch

    from avcil.utils.cores import available_cores

    cores, memory, threads = available_cores(), _memory(), torch.get_num_threads()
    figure = f"{platform.system()} {platform.machine()}, {cores} cores, {memory / 2**30:.1f} GiB of memory"
    yield CheckResult(
        status="ok",
        what="machine",
        figure=figure,
        advice="little memory: give avcil extract --workers 1 and small batches" if memory < SMALL else "",
    )
    many = threads > cores
    yield CheckResult(
        status="ok",
        what="threads",
        figure=f"PyTorch {torch.__version__} takes {threads} for {cores} cores",
        advice=f"set OMP_NUM_THREADS={cores}: more threads than cores wait for each other" if many else "",
    )


def _memory() -> int:
    """Bytes that this process may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = LIMIT.read_text().strip() if LIMIT.exists() else "max"
    return total if limit == "max" else min(total, int(limit))
