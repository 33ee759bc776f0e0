"""The code that runs in a worker process: resource limits and the request loop."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from avcil.errors import AvcilError, InputError

Arrays = dict[str, np.ndarray]
Operation = Callable[..., Iterator[tuple[Any, Arrays]]]
"""Yields values (JSON) with arrays."""

_MIN_MEGABYTES = 64
"""Memory that decoding needs at least."""
_MAX_OUTPUT_BYTES = 2**20
"""Maximum size of a file written by a worker; its standard error is one."""
_MAX_OPEN_FILES = 64
_GRACE_SECONDS = 2.0
"""CPU seconds beyond the time limit of a request, whose own error has a better message."""


class MemoryBudget:
    """A limit of the address space, in addition to what the process uses when the budget is created.

    FFmpeg reports failed allocations as packets that could not be decoded. So any problem with a file that needed more
    than half of the budget is attributed to memory.
    """

    def __init__(self, megabytes: int) -> None:
        """Set the limit.

        Args:
            megabytes: Requested size; reduced if the limit of the parent process (`ulimit -v`) is lower.

        Raises:
            AvcilError: The limit of the parent process is too low.
        """
        self._began = _peak_bytes()
        ceiling = min(_finite(limit) for limit in resource.getrlimit(resource.RLIMIT_AS))
        size = min(megabytes * 2**20, ceiling - self._began)
        self.megabytes = int(size // 2**20)
        if self.megabytes < min(_MIN_MEGABYTES, megabytes):
            raise AvcilError(
                f"at least {self._began + _MIN_MEGABYTES * 2**20 >> 20} MB of address space are needed, "
                f"but the limit (ulimit -v) is {int(ceiling) >> 20} MB"
            )
        limit = int(self._began + size)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def is_half_used(self) -> bool:
        """Whether more than half of the budget has been used."""
        return _peak_bytes() - self._began > self.megabytes * 2**20 / 2


def _finite(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _peak_bytes() -> int:
    """Peak size of the address space, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmPeak:"):
            return int(line.split()[1]) * 1024
    raise AvcilError("/proc/self/status lacks VmPeak; worker processes need Linux")


def _limit_process() -> None:
    """Forbid what a worker never needs: large files, many open files, core dumps.

    SIGTERM and SIGINT are ignored: the parent process ends its workers.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for kind, value in (
        (resource.RLIMIT_FSIZE, _MAX_OUTPUT_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _limit_processor_time(seconds: float) -> None:
    """End this process (SIGXCPU) once it has used `seconds` more of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds + _GRACE_SECONDS)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def answer_requests(operations: Mapping[str, Operation], *, megabytes: int, seconds: float) -> None:
    """Answer requests from standard input until it ends, or until memory is low and a new process should take over.

    Import everything that the operations need before the call: the memory budget starts here.

    Args:
        operations: Functions by name. A request names one as `operation`; its other items are keyword arguments.
        megabytes: Memory budget of this process.
        seconds: CPU time limit of one request.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with replies
    try:
        budget = MemoryBudget(megabytes)
        _limit_process()
    except AvcilError as error:
        sys.exit(str(error))
    with suppress(BrokenPipeError):  # the parent has ended
        replies.write(b"ready\n")
        replies.flush()
        for line in sys.stdin.buffer:
            _limit_processor_time(seconds)
            _answer(replies, operations, json.loads(line), budget)
            if budget.is_half_used():
                break
    os._exit(0)  # skips destructors of libraries, and flushing into a closed pipe


def _answer(
    replies: BinaryIO, operations: Mapping[str, Operation], request: dict[str, Any], budget: MemoryBudget
) -> None:
    """Write the replies to one request; the last one has `more` false."""
    operation = operations[request.pop("operation")]
    error = None
    try:
        for value, arrays in operation(budget=budget, **request):
            _write(replies, {"value": value, "more": True}, arrays)
    except InputError as caught:
        error = {"kind": type(caught).__name__, "message": str(caught)}
    except Exception as caught:  # the parent reports the kind of error
        error = {"kind": "unexpected", "message": f"{type(caught).__name__}: {caught}"}
    if error is not None and budget.is_half_used():
        error = {"kind": "memory", "message": f"{budget.megabytes}"}
    _write(replies, {"value": None, "error": error, "exits": budget.is_half_used()}, {})


def _write(replies: BinaryIO, head: dict[str, Any], arrays: Arrays) -> None:
    shapes = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    replies.write(json.dumps(head | {"arrays": shapes}).encode() + b"\n")
    for array in arrays.values():
        replies.write(np.ascontiguousarray(array).data)
    replies.flush()
