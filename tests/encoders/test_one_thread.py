"""Features do not depend on the number of threads that NumPy uses."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController

from avcil.encoders import one_thread as module
from avcil.encoders.log_mel import LogMel
from avcil.encoders.one_thread import one_thread
from avcil.encoders.patch_motion import PatchMotion


def numpys_threads() -> int:
    """The number of threads of NumPy's BLAS; SciPy and PyTorch have their own."""
    (result,) = (library for library in ThreadpoolController().info() if "numpy" in library["filepath"])
    return result["num_threads"]


@pytest.fixture
def two_threads():
    """Two threads, as on a machine with two cores."""
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        yield


def encoded(encoder):
    draw = np.random.default_rng(0)
    if isinstance(encoder, PatchMotion):
        return encoder.encode([draw.integers(0, 255, (encoder.frames, 128, 170, 3), np.uint8)])
    return encoder.encode([draw.standard_normal(160_000).astype(np.float32)])


@pytest.mark.parametrize("kind", [PatchMotion, LogMel])
def test_encoders_are_independent_of_thread_count(kind):
    """The bits of features must be equal on machines with different numbers of cores."""
    result = []
    for threads in (1, 2):
        with ThreadpoolController().limit(limits=threads, user_api="blas"):
            result.append(encoded(kind()))
    np.testing.assert_array_equal(*result)


def test_limit_ends_with_the_last_thread(two_threads):
    """Of two encoding threads, the first one to finish must not remove the limit of the other."""
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with one_thread():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=stay)
    with one_thread():
        other.start()
        assert entered.wait(10)
    assert numpys_threads() == 1
    leave.set()
    other.join()
    assert numpys_threads() == 2


def test_openmp_threads_are_unchanged(two_threads):
    """PyTorch uses OpenMP, whose number of threads is a property of each thread."""
    seen = []

    def leave_last(entered, leave):
        torch.set_num_threads(2)
        with one_thread():
            entered.set()
            leave.wait(10)
        seen.append(torch.get_num_threads())

    entered, leave = threading.Event(), threading.Event()
    other = threading.Thread(target=leave_last, args=(entered, leave))
    with one_thread():
        other.start()
        assert entered.wait(10)
    leave.set()
    other.join()
    assert seen == [2]


def test_limits_per_thread(two_threads, monkeypatch):
    """With OpenBLAS built on OpenMP, each thread sets its own limit, and no counter is used."""
    libraries = ThreadpoolController().select(user_api="blas")
    monkeypatch.setattr(module, "_libraries", lambda: (libraries, True))
    with one_thread():
        assert numpys_threads() == 1
        assert module._inside == 0
    assert numpys_threads() == 2


def test_unknown_blas_is_a_warning(monkeypatch, capsys):
    """Without a supported library, the encoder works, and a warning explains the effect."""
    empty = ThreadpoolController().select(user_api="none")
    monkeypatch.setattr(module, "ThreadpoolController", lambda: empty)
    module._libraries.cache_clear()
    try:
        with one_thread():
            pass
        assert "unknown" in capsys.readouterr().err
    finally:
        module._libraries.cache_clear()
