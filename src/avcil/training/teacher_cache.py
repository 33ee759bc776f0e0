"""What a teacher said of each clip of a step, kept in the nearest room that has space: device, memory, scratch file.

n clips. All three give back the same bits.
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

Place = Literal["device", "memory", "disk"]


@dataclass(frozen=True, kw_only=True)
class TeacherCache:
    """Tensors (n, ...) of the pool's clips from `first` on."""

    place: Place
    first: int
    tensors: tuple[Tensor, ...]
    device: torch.device

    def put(self, places: slice, values: Sequence[Tensor]) -> None:
        """Keep what was said of the clips at `places` of the shelf."""
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor[places] = value.to(tensor.device)

    def get(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What was said of the pool's `rows`, on the device."""
        places = self._places(rows)
        return tuple(
            tensor[places.to(tensor.device)].to(self.device, non_blocking=True) for tensor in self.tensors
        )

    def get_rows(self, rows: Tensor) -> tuple[Tokens, ...]:
        """The same, not copied together where a processor computes."""
        if self.device.type != "cpu":
            return self.get(rows)
        places = self._places(rows)
        return tuple(TokenRows(tensor, places, tensor.dtype) for tensor in self.tensors)

    def _places(self, rows: Tensor) -> Tensor:
        places = rows - self.first
        if len(places) and int(places.min()) < 0:
            raise ValueError(
                "the teacher was first asked this about exemplars alone, so it is known for no new clip: ask under "
                "another name for batches that hold new clips"
            )
        return places


def teacher_cache_for(
    sample: Sequence[Tensor], count: int, *, first: int, budget: Budget, scratch: Path | None
) -> TeacherCache | None:
    """Room for `count` clips like the one of `sample`, tensors (1, ...); None where there is none.

    `scratch` is a folder for a file that no name leads to, so that a kill leaves nothing behind.
    """
    device = sample[0].device
    size = count * sum(tensor.nbytes for tensor in sample)
    if device.type != "cpu" and budget.device.take(size):
        return TeacherCache(place="device", first=first, tensors=_empty(sample, count, device), device=device)
    if budget.host.take(size):
        host = torch.device("cpu")
        return TeacherCache(place="memory", first=first, tensors=_empty(sample, count, host), device=device)
    if scratch is not None and budget.disk.take(size):
        tensors = _on_disk(sample, count, scratch)
        if tensors is not None:
            return TeacherCache(place="disk", first=first, tensors=tensors, device=device)
    return None


def _empty(sample: Sequence[Tensor], count: int, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.empty((count, *t.shape[1:]), dtype=t.dtype, device=device) for t in sample)


def _on_disk(sample: Sequence[Tensor], count: int, scratch: Path) -> tuple[Tensor, ...] | None:
    """Mapped from files that have their blocks already: writing to a full disk would kill the process."""
    tensors = []
    for tensor in sample:
        size = max(1, count * tensor.nbytes)
        with tempfile.NamedTemporaryFile(dir=scratch, prefix=".teacher-", suffix=".part") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError:  # the disk is full, or its file system cannot: the teacher is asked each time
                return None
            flat = torch.from_file(file.name, shared=True, size=count * tensor[0].numel(), dtype=tensor.dtype)
        tensors.append(flat.view(count, *tensor.shape[1:]))
    return tuple(tensors)
