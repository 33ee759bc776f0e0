"""One thread, as for the methods."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread(single_thread) -> None:
    """For the whole folder, before any other fixture."""
