"""NumPy's matrix products with one BLAS thread, since their last bits depend on the number of threads.

The matrices of fixed encoders are small, so one thread is faster anyway, and features do not depend on the number of
cores. Other types of CPUs still round differently.
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
    """Context in which NumPy's BLAS uses one thread, in all threads of the process."""
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
    """The number belongs to the process: the first user sets it, the last one restores it."""
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
    """OpenBLAS has a number for the first thread that sets it, not for others; called with the lock."""
    OpenBLASController.clear_controlling_thread(force=True)


def _after_fork() -> None:
    """Reset the state in a forked child, which has no other threads."""
    global _lock, _inside
    _lock, _inside = threading.Lock(), 0


os.register_at_fork(after_in_child=_after_fork)


@cache
def _libraries() -> tuple[ThreadpoolController, bool]:
    """The controller of NumPy's BLAS, and whether the number is per thread."""
    import numpy  # noqa: F401  must be loaded to be found

    controller = ThreadpoolController().select(user_api="blas")
    numpy_libraries = [library["filepath"] for library in controller.info() if "numpy" in library["filepath"]]
    chosen = controller.select(filepath=numpy_libraries) if numpy_libraries else controller
    if not controller.info():
        print(
            "avcil: NumPy's BLAS library is unknown, so the last digits of features may depend on the number of "
            "threads. Set OMP_NUM_THREADS=1 for bit-identical stores",
            file=sys.stderr,
        )
    return chosen, any(library.get("threading_layer") == "openmp" for library in chosen.info())
