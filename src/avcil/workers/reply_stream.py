"""Reading the replies of a worker process from a pipe.

A reply is one line of JSON, the header, followed by the bytes of its arrays. Nothing is pickled, so a compromised
worker can send wrong numbers but no objects.
"""

from __future__ import annotations

import json
import math
import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_MAX_HEADER_BYTES = 2**20
"""Maximum size of a reply's header."""
_DTYPES = ("uint8", "float32", "float64")
"""Allowed dtypes of arrays."""


class MalformedReply(Exception):
    """A worker has sent something that is not a reply."""


@dataclass
class TimeBudget:
    """Remaining seconds of waiting for a worker; several requests can share one budget."""

    seconds: float


@dataclass(frozen=True, eq=False)
class Reply:
    """A reply of a worker."""

    value: Any
    """A JSON value."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    error: dict[str, str] | None = None
    """`kind` and `message` of an exception; `value` is then None."""
    has_more: bool = False
    """Whether further replies to the same request follow."""
    worker_exits: bool = False
    """Whether the worker ends after this reply."""


class ReplyStream:
    """Reads replies from a pipe.

    All methods raise `MalformedReply`, EOFError if the worker has ended, and TimeoutError if the budget is used up.

    Args:
        descriptor: The pipe.
        max_bytes: Maximum total size of the arrays of one reply.
    """

    def __init__(self, descriptor: int, *, max_bytes: int) -> None:
        self._descriptor, self._max_bytes = descriptor, max_bytes
        self._buffer = bytearray()

    def read(self, budget: TimeBudget) -> Reply:
        """The next reply."""
        line = self.read_line(budget)
        try:
            header = json.loads(line)
            arrays, remaining = {}, self._max_bytes
            for name, (dtype, shape) in header["arrays"].items():
                remaining -= _array_bytes(dtype, shape)
                if remaining < 0:
                    raise ValueError("more bytes than a reply may contain")
                arrays[name] = np.empty(shape, dtype)
                self._fill(arrays[name].reshape(-1).view(np.uint8).data, budget)
            return Reply(
                header["value"],
                arrays,
                header.get("error"),
                has_more=bool(header.get("more")),
                worker_exits=bool(header.get("exits")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MalformedReply(type(error).__name__) from None

    def read_line(self, budget: TimeBudget) -> bytes:
        """The next line, without its end."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEADER_BYTES:
                raise MalformedReply("the header is too long")
            self._wait(budget)
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                raise EOFError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return bytes(line)

    def _fill(self, into: memoryview, budget: TimeBudget) -> None:
        filled = min(len(into), len(self._buffer))
        into[:filled] = self._buffer[:filled]
        del self._buffer[:filled]
        while filled < len(into):
            self._wait(budget)
            count = os.readv(self._descriptor, [into[filled:]])
            if not count:
                raise EOFError
            filled += count

    def _wait(self, budget: TimeBudget) -> None:
        """Wait until there is something to read, and subtract the time from the budget."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN | select.POLLHUP)
        began = time.monotonic()
        ready = poll.poll(max(0.0, budget.seconds) * 1000)
        budget.seconds -= time.monotonic() - began
        if not ready:
            raise TimeoutError


def _array_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Size of an array; ValueError if the dtype or shape is not allowed."""
    if dtype not in _DTYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("not an array that a reply may contain")
    return math.prod(shape) * np.dtype(dtype).itemsize
