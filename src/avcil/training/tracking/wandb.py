"""Weights & Biases: figures at its service, or in a folder wandb/ with WANDB_MODE=offline.

Environment variables of wandb's own say where (WANDB_DIR, WANDB_MODE); WANDB_PROJECT the project, avcil unless given.
"""

from __future__ import annotations

import os

from avcil.training.tracking.base import TrackedRun
from avcil.training.tracking.events import Event


class WeightsAndBiases:
    """One run of a project; gone on with, it is told what the service lacks. Offline, it is told everything again."""

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
        return self._run.step  # the number after the last one that it holds

    def add(self, number: int, event: Event) -> None:
        self._run.log(event.figures, step=number)

    def caught_up(self) -> None:
        pass

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


TRACKER = WeightsAndBiases
