"""The number of processor cores."""

from __future__ import annotations

import os


def available_cores() -> int:
    """The number of processor cores that this process may use; at least 1."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
