"""Limits PyTorch to one thread."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread(single_thread) -> None:
    """Runs before all other fixtures of the folder."""
