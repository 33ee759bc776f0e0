"""TensorBoard's event files, in a folder `tensorboard/` beside the run: tensorboard --logdir runs/tensorboard.

An event file cannot be gone on with so that nothing is in it twice. So whenever a run is begun or gone on with, a new
file is written from the run directory, and once it is whole it takes the place of the older one. Records are written
as they come, without the thread of TensorBoard's own writer, whose errors nobody could catch.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from avcil.training.tracking.base import TrackedRun
from avcil.training.tracking.events import Event

NAME = "events.out.tfevents"


def events_folder(run: Path) -> Path:
    """Where the event files of a run are."""
    run = run.absolute()
    return run.parent / "tensorboard" / run.name


class TensorBoard:
    """One event file."""

    def __init__(self) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._proto, self._record_writer, self._summary = event_pb2, RecordWriter, summary

    def begin(self, run: TrackedRun) -> int:
        self._folder = events_folder(run.paths.folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._old = list(self._folder.glob(f"{NAME}.*"))
        self._part = self._folder / ".begun.part"
        self._file = open(self._part, "wb")  # noqa: SIM115
        self._records = self._record_writer(self._file)
        self._write(file_version="brain.Event:2")
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._write(step=0, session_log=start)  # whoever looks on forgets what the older file told
        told = json.dumps(run.config.to_dict(), indent=2, ensure_ascii=False)
        text = "".join(f"    {line}\n" for line in told.splitlines())  # Markdown, as code
        self._write(step=0, summary=self._summary.text("configuration", text))
        return 0

    def add(self, number: int, event: Event) -> None:
        """Over epochs; what is of a step, over steps."""
        at = event.epoch if event.class_step is None else event.class_step
        for name, value in event.values.items():
            self._write(step=at, summary=self._summary.scalar(name, value))
        self._file.flush()

    def _write(self, **content: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **content)
        self._records.write(event.SerializeToString())

    def caught_up(self) -> None:
        """Show the file, which holds all that the older ones held."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._part, self._folder / f"{NAME}.{time.time_ns()}.avcil")
        for file in self._old:
            # A TensorBoard that reads it would stumble over its absence, and stay there; from an empty one it moves on.
            if file.stat().st_size:
                os.truncate(file, 0)
            else:
                file.unlink()

    def close(self, *, finished: bool) -> None:
        self._file.close()


TRACKER = TensorBoard
