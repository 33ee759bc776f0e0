"""Limits PyTorch to one thread: the networks are small, and more threads would be slower."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread(single_thread) -> None:
    """Runs before all other fixtures of the folder."""
