"""Reuse of CPU memory between iterations: the system clears new pages, which takes as long as copying."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class BufferCheckout:
    """A buffer that is returned to its workspace when this object is deleted."""

    def __init__(self, tensor: Tensor, on_delete: Callable[[], None] | None = None) -> None:
        self.tensor, self._on_delete = tensor, on_delete

    def __del__(self) -> None:
        if self._on_delete is not None:
            self._on_delete()


class Workspace:
    """A pool of reusable buffers in CPU memory; GPU memory is left to PyTorch's caching allocator."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = threading.RLock()  # a buffer can be deleted, and so returned, at any point

    def checkout(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> BufferCheckout:
        """A buffer with undefined content."""
        if device.type != "cpu":
            return BufferCheckout(torch.empty(shape, dtype=dtype, device=device))
        size = math.prod(shape) * dtype.itemsize
        buffer = self._take(size)
        return BufferCheckout(buffer[:size].view(dtype).view(shape), lambda: self._return(buffer))

    def _take(self, size: int) -> Tensor:
        """The smallest free buffer that is large enough, or a new one, which replaces the largest free one."""
        with self._lock:
            self._free.sort(key=len)
            for index, buffer in enumerate(self._free):
                if len(buffer) >= size:
                    return self._free.pop(index)
            if self._free:
                self._free.pop()
        return torch.empty(size, dtype=torch.uint8)

    def _return(self, buffer: Tensor) -> None:
        with self._lock:
            self._free.append(buffer)

    def clear(self) -> None:
        """Release the free buffers; those in use are returned later."""
        with self._lock:
            self._free.clear()

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()  # a copy has its own buffers
