"""Stored numbers do not depend on how many threads a machine gives to NumPy."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from avcil.encoders.log_mel import LogMel
from avcil.encoders.one_thread import one_thread
from avcil.encoders.patch_motion import PatchMotion


def numpys_threads() -> int:
    """Of the BLAS that NumPy came with; SciPy and PyTorch bring others."""
    (found,) = (library for library in ThreadpoolController().info() if "numpy" in library["filepath"])
    return found["num_threads"]


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
    found = []
    for threads in (1, 2):
        with ThreadpoolController().limit(limits=threads, user_api="blas"):
            found.append(encoded(kind()))
    np.testing.assert_array_equal(*found)


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
