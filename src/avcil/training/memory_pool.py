"""Room for tensors that are kept because they will be wanted again: on the device, in the machine's memory, on disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch

SHARE = 0.6
"""Of the machine's memory, what a run allows itself unless it is told."""
GPU_SHARE = 0.85
"""Of a GPU's memory."""
DISK_SHARE = 0.25
"""Of the disk that is free."""


@dataclass(kw_only=True)
class MemoryPool:
    """So many bytes, handed out until they are gone."""

    left: int

    def take(self, size: int) -> bool:
        """Whether `size` bytes were left; they are taken then."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(kw_only=True)
class Budget:
    """Rooms, nearest first."""

    device: MemoryPool = field(default_factory=lambda: MemoryPool(left=0))
    """A GPU's own memory; nothing where the processor computes, whose memory is the host's."""
    host: MemoryPool
    """The machine's memory."""
    disk: MemoryPool = field(default_factory=lambda: MemoryPool(left=0))
    """Scratch files beside the run."""

    @classmethod
    def of_host(cls, size: int) -> Budget:
        """Memory alone.

        >>> Budget.of_host(10).host.take(11)
        False
        """
        return cls(host=MemoryPool(left=size))


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's limit."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            return min(installed, int(file.read_text()))
        except (OSError, ValueError):  # no control groups, or no limit ("max")
            continue
    return installed


def device_memory(device: torch.device) -> int:
    """Bytes of the device's memory that a run may take."""
    if device.type == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info(device)[1])
    return int(SHARE * machine_memory())


def free_disk(folder: Path) -> int:
    """Bytes that scratch files beside a run may take."""
    return int(DISK_SHARE * shutil.disk_usage(folder).free)
