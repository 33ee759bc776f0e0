"""NumPy's matrix products by one thread: their last bits depend on how many threads a BLAS spreads them over.

An encoder of fixed weights multiplies small matrices, which one thread does faster anyway, and a store must hold the
same numbers however many cores the machine that made them has. Another kind of processor still rounds differently.
"""

from __future__ import annotations

import os
import sys
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
    libraries, is_per_thread = _libraries()
    if is_per_thread:
        with libraries.limit(limits=1):
            yield
        return
    _enter(libraries)
    try:
        yield
    finally:
        _leave()


def _enter(libraries: ThreadpoolController) -> None:
    """The number is the process's: who comes first sets it, and who leaves last restores it."""
    global _inside, _limit
    with _lock:
        if not _inside:
            _take_control()
            _limit = libraries.limit(limits=1)
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            _take_control()
            _limit.restore_original_limits()
            OpenBLASController.clear_controlling_thread()


def _take_control() -> None:
    """OpenBLAS's number is set for the thread that set it first, and silently not for others; the lock is ours."""
    OpenBLASController.clear_controlling_thread(force=True)


def _after_fork() -> None:
    """Other threads, and what they held, are gone in a child."""
    global _lock, _inside
    _lock, _inside = threading.Lock(), 0


os.register_at_fork(after_in_child=_after_fork)


@cache
def _libraries() -> tuple[ThreadpoolController, bool]:
    """NumPy's BLAS, and whether each thread has a number of its own."""
    import numpy  # noqa: F401  it must be loaded to be found

    found = ThreadpoolController().select(user_api="blas")
    own = [library["filepath"] for library in found.info() if "numpy" in library["filepath"]]
    chosen = found.select(filepath=own) if own else found
    if not found.info():
        print(
            "avcil: the library of NumPy's matrix products is not known, so their last digits may depend on the "
            "number of threads. Set OMP_NUM_THREADS=1 where stores must be equal to the last bit",
            file=sys.stderr,
        )
    return chosen, any(library.get("threading_layer") == "openmp" for library in chosen.info())
