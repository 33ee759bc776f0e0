"""Cache of teacher outputs for the clips of a step: on the device, in main memory or in a temporary file.

n clips. The location does not change the values.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from avcil.nn.token_rows import TokenRows, Tokens
from avcil.training.memory_pool import Budget

Location = Literal["device", "memory", "disk"]


@dataclass(frozen=True, kw_only=True)
class TeacherCache:
    """Tensors (n, ...) of the clips of the pool from row `first`."""

    location: Location
    first: int
    tensors: tuple[Tensor, ...]
    device: torch.device

    def put(self, positions: slice, values: Sequence[Tensor]) -> None:
        """Store the outputs of the clips at `positions` of the cache."""
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor[positions] = value.to(tensor.device)

    def get(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Outputs for `rows` of the pool, on the device."""
        positions = self._places(rows)
        return tuple(
            tensor[positions.to(tensor.device)].to(self.device, non_blocking=True) for tensor in self.tensors
        )

    def get_rows(self, rows: Tensor) -> tuple[Tokens, ...]:
        """As `get`, but not copied if the computation runs on the CPU."""
        if self.device.type != "cpu":
            return self.get(rows)
        positions = self._places(rows)
        return tuple(TokenRows(tensor, positions, tensor.dtype) for tensor in self.tensors)

    def _places(self, rows: Tensor) -> Tensor:
        positions = rows - self.first
        if len(positions) and int(positions.min()) < 0:
            raise ValueError(
                "this cache contains exemplars alone, because the first batch had no new clips: use another name for "
                "batches with new clips"
            )
        return positions


def teacher_cache_for(
    sample: Sequence[Tensor], count: int, *, first: int, budget: Budget, scratch: Path | None
) -> TeacherCache | None:
    """An empty cache for `count` clips; None if there is no memory for it.

    Args:
        sample: Tensors (1, ...) for one clip.
        count: Number of clips.
        first: First row of the pool that is cached.
        budget: Available memory.
        scratch: Folder for a temporary file; it is unlinked at once, so that a killed run leaves nothing behind.
    """
    device = sample[0].device
    size = count * sum(tensor.nbytes for tensor in sample)
    if device.type != "cpu" and budget.device.reserve(size):
        return TeacherCache(
            location="device", first=first, tensors=_empty(sample, count, device), device=device
        )
    if budget.host.reserve(size):
        host = torch.device("cpu")
        return TeacherCache(
            location="memory", first=first, tensors=_empty(sample, count, host), device=device
        )
    if scratch is not None and budget.disk.reserve(size):
        tensors = _on_disk(sample, count, scratch)
        if tensors is not None:
            return TeacherCache(location="disk", first=first, tensors=tensors, device=device)
    return None


def _empty(sample: Sequence[Tensor], count: int, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.empty((count, *t.shape[1:]), dtype=t.dtype, device=device) for t in sample)


def _on_disk(sample: Sequence[Tensor], count: int, scratch: Path) -> tuple[Tensor, ...] | None:
    """Tensors mapped from files. Blocks are allocated first, since writing to a full disk would kill the process."""
    tensors = []
    for tensor in sample:
        size = max(1, count * tensor.nbytes)
        with tempfile.NamedTemporaryFile(dir=scratch, prefix=".teacher-", suffix=".part") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError:  # the disk is full, or the file system does not support it
                return None
            flat = torch.from_file(file.name, shared=True, size=count * tensor[0].numel(), dtype=tensor.dtype)
        tensors.append(flat.view(count, *tensor.shape[1:]))
    return tuple(tensors)
