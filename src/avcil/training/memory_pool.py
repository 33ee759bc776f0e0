"""Memory budget of a run, for clips and cached teacher outputs: on the GPU, in main memory, on disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch

HOST_FRACTION = 0.6
"""Default fraction of main memory that a run may use."""
_GPU_FRACTION = 0.85
"""Default fraction of the memory of a GPU."""
_DISK_FRACTION = 0.25
"""Fraction of the free disk space."""


@dataclass(kw_only=True)
class MemoryPool:
    """A number of bytes that can be reserved."""

    available: int

    def reserve(self, size: int) -> bool:
        """Reserve `size` bytes if they are available; returns whether they were."""
        if size > self.available:
            return False
        self.available -= size
        return True


@dataclass(kw_only=True)
class Budget:
    """Memory pools, from the fastest to the slowest."""

    device: MemoryPool = field(default_factory=lambda: MemoryPool(available=0))
    """Memory of the GPU; 0 bytes on the CPU."""
    host: MemoryPool
    """Main memory."""
    disk: MemoryPool = field(default_factory=lambda: MemoryPool(available=0))
    """Temporary files in the run directory."""

    @classmethod
    def host_only(cls, size: int) -> Budget:
        """Only main memory.

        >>> Budget.host_only(10).host.reserve(11)
        False
        """
        return cls(host=MemoryPool(available=size))


def host_memory() -> int:
    """Bytes of main memory that this process may use: all, or the limit of its control group."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            return min(installed, int(file.read_text()))
        except (OSError, ValueError):  # no control groups, or no limit ("max")
            continue
    return installed


def device_memory(device: torch.device) -> int:
    """Bytes of memory that a run may use by default on a device."""
    if device.type == "cuda":
        return int(_GPU_FRACTION * torch.cuda.mem_get_info(device)[1])
    return int(HOST_FRACTION * host_memory())


def free_disk(folder: Path) -> int:
    """Bytes that temporary files of a run may use in a folder."""
    return int(_DISK_FRACTION * shutil.disk_usage(folder).free)
