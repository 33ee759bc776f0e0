"""Memory that one iteration leaves to the next: fresh pages are cleared first, which takes as long as copying."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class BufferCheckout:
    """A lent array; its memory goes back when the loan is dropped."""

    def __init__(self, tensor: Tensor, give_back: Callable[[], None] | None = None) -> None:
        self.tensor, self._give_back = tensor, give_back

    def __del__(self) -> None:
        if self._give_back is not None:
            self._give_back()


class Workspace:
    """Buffers in a processor's memory that are lent again and again; a GPU's allocator keeps them by itself."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = threading.RLock()  # a loan may be dropped, and so given back, anywhere

    def lend(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> BufferCheckout:
        """An array with anything in it."""
        if device.type != "cpu":
            return BufferCheckout(torch.empty(shape, dtype=dtype, device=device))
        size = math.prod(shape) * dtype.itemsize
        buffer = self._take(size)
        return BufferCheckout(buffer[:size].view(dtype).view(shape), lambda: self._give_back(buffer))

    def _take(self, size: int) -> Tensor:
        """The smallest free buffer that is large enough, or a new one instead of the largest that is not."""
        with self._lock:
            self._free.sort(key=len)
            for place, buffer in enumerate(self._free):
                if len(buffer) >= size:
                    return self._free.pop(place)
            if self._free:
                self._free.pop()
        return torch.empty(size, dtype=torch.uint8)

    def _give_back(self, buffer: Tensor) -> None:
        with self._lock:
            self._free.append(buffer)

    def clear(self) -> None:
        """Give what is free to the system; what is lent comes back later."""
        with self._lock:
            self._free.clear()

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()  # a copy has its own
