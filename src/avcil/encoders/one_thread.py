"""NumPy's matrix products by one thread: their last bits depend on how many threads a BLAS spreads them over.

Encoders of fixed weights multiply small matrices, which one thread does faster anyway, and a store must hold the same
numbers whichever machine of a cluster made them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, in any thread, NumPy's BLAS is a single thread's; afterwards it is as it was."""
    global _inside, _limit
    with _lock:  # the number is the process's: the first sets it, the last restores it
        if not _inside:
            _take_control()
            _limit = _libraries().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _take_control()
                _limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread()


def _take_control() -> None:
    """OpenBLAS's number is set for the thread that set it first, and silently not for others; the lock is ours."""
    OpenBLASController.clear_controlling_thread(force=True)


@cache
def _libraries() -> ThreadpoolController:
    import numpy  # noqa: F401  its library must be loaded to be found

    return ThreadpoolController()
