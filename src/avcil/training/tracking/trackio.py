"""trackio: figures in a database on this machine, or in a Space of the Hugging Face hub; trackio show shows them.

Environment variables of trackio's own say where (TRACKIO_DIR, TRACKIO_SPACE_ID); TRACKIO_PROJECT the project, avcil
unless given.
"""

from __future__ import annotations

import contextlib
import os
import sys

from avcil.training.tracking.base import TrackedRun
from avcil.training.tracking.events import Event


class Trackio:
    """One run of a project; gone on with, it is told what it lacks."""

    def __init__(self) -> None:
        import trackio

        self._trackio = trackio

    def begin(self, run: TrackedRun) -> int:
        with contextlib.redirect_stdout(sys.stderr):  # it greets
            self._run = self._trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", "avcil"),
                name=f"{run.name}-{run.stamp[:6]}",
                config=run.config.to_dict(),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        return self._run._next_step  # the number after the last one that it holds

    def add(self, number: int, event: Event) -> None:
        self._run.log(event.figures, step=number)

    def caught_up(self) -> None:
        pass

    def close(self, *, finished: bool) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._trackio.finish()


TRACKER = Trackio
