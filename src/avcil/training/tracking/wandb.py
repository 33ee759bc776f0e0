"""Weights & Biases: metrics at its service, or in a folder wandb/ with WANDB_MODE=offline.

The environment variables WANDB_DIR and WANDB_MODE select where metrics are stored, and WANDB_PROJECT the
project (default: avcil).
"""

from __future__ import annotations

import os

from avcil.training.tracking.events import Event
from avcil.training.tracking.tracking import TrackedRun, Tracker


class WeightsAndBiases(Tracker):
    """A run of a project; a resumed run gets the events that the service lacks, or, offline, all events again."""

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb

    def begin(self, run: TrackedRun) -> int:
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "avcil"),
            id=run.stamp,
            name=run.name,
            config=run.config.to_dict(),
            resume="allow",
            settings=self._wandb.Settings(console="off", silent=True),
        )
        for group in ("loss", "validation", "statistics"):
            self._run.define_metric(f"{group}/*", step_metric="epoch")
        for group in ("test", "final"):
            self._run.define_metric(f"{group}/*", step_metric="class_step")
        return self._run.step  # the number after the last recorded event

    def add(self, number: int, event: Event) -> None:
        self._run.log(event.record, step=number)

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


TRACKER = WeightsAndBiases
