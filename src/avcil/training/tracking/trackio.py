"""trackio: metrics in a database on this machine, or in a Space of the Hugging Face Hub. `trackio show` displays them.

The environment variables TRACKIO_DIR and TRACKIO_SPACE_ID select where metrics are stored, and
TRACKIO_PROJECT the project (default: avcil).
"""

from __future__ import annotations

import contextlib
import os
import sys

from avcil.training.tracking.events import Event
from avcil.training.tracking.tracking import TrackedRun, Tracker


class Trackio(Tracker):
    """A run of a project; a resumed run gets the events that it lacks."""

    def __init__(self) -> None:
        import trackio

        self._trackio = trackio

    def begin(self, run: TrackedRun) -> int:
        with contextlib.redirect_stdout(sys.stderr):  # it prints a greeting
            self._run = self._trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", "avcil"),
                name=f"{run.name}-{run.stamp[:6]}",
                config=run.config.to_dict(),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        return self._run._next_step  # the number after the last recorded event

    def add(self, number: int, event: Event) -> None:
        self._run.log(event.record, step=number)

    def close(self, *, finished: bool) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._trackio.finish()


TRACKER = Trackio
