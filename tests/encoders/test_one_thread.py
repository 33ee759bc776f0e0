"""Stored numbers do not depend on how many threads a machine gives to NumPy."""

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
    """Of the BLAS that NumPy came with; SciPy and PyTorch bring others."""
    (result,) = (library for library in ThreadpoolController().info() if "numpy" in library["filepath"])
    return result["num_threads"]


@pytest.fixture
def two_threads():
    """As on a machine with two cores."""
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        yield


def encoded(encoder):
    draw = np.random.default_rng(0)
    if isinstance(encoder, PatchMotion):
        return encoder.encode([draw.integers(0, 255, (encoder.frames, 128, 170, 3), np.uint8)])
    return encoder.encode([draw.standard_normal(160_000).astype(np.float32)])


@pytest.mark.parametrize("kind", [PatchMotion, LogMel])
def test_built_in_encoders_give_the_same_bits_by_one_thread_and_by_two(kind):
    """A cluster's nodes may have any number of cores."""
    result = []
    for threads in (1, 2):
        with ThreadpoolController().limit(limits=threads, user_api="blas"):
            result.append(encoded(kind()))
    np.testing.assert_array_equal(*result)


def test_the_limit_ends_with_the_last_of_those_inside(two_threads):
    """Two threads encode at once: the one that leaves first does not give the other one two threads."""
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


def test_openmp_keeps_its_number(two_threads):
    """PyTorch computes with OpenMP's threads, whose number is each thread's own: it is left alone."""
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


def test_where_each_thread_has_a_number_each_sets_its_own(two_threads, monkeypatch):
    """As with OpenBLAS built on OpenMP: entering and leaving leave no count behind."""
    libraries = ThreadpoolController().select(user_api="blas")
    monkeypatch.setattr(module, "_libraries", lambda: (libraries, True))
    with one_thread():
        assert numpys_threads() == 1
        assert module._inside == 0
    assert numpys_threads() == 2


def test_an_unknown_library_is_said(monkeypatch, capsys):
    """Without a library to limit, the encoder works, and a warning explains the effect."""
    empty = ThreadpoolController().select(user_api="none")
    monkeypatch.setattr(module, "ThreadpoolController", lambda: empty)
    module._libraries.cache_clear()
    try:
        with one_thread():
            pass
        assert "unknown" in capsys.readouterr().err
    finally:
        module._libraries.cache_clear()
