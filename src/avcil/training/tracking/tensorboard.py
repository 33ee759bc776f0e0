"""TensorBoard's event files, in a folder `tensorboard/` beside the run: tensorboard --logdir runs/tensorboard.

Appending to the event file of a killed run could record events twice. Therefore, whenever a run is started or resumed,
a new file is written from the run directory and then replaces the older one. Records are written directly, because
TensorBoard's own writer has a thread whose errors cannot be caught.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from avcil.training.tracking.events import Event
from avcil.training.tracking.tracking import TrackedRun, Tracker

NAME = "events.out.tfevents"


def events_folder(run: Path) -> Path:
    """The folder of the event files of a run."""
    run = run.absolute()
    return run.parent / "tensorboard" / run.name


class TensorBoard(Tracker):
    """An event file."""

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
        self._write(step=0, session_log=start)  # a running TensorBoard then discards the older file's events
        config = json.dumps(run.config.to_dict(), indent=2, ensure_ascii=False)
        text = "".join(f"    {line}\n" for line in config.splitlines())  # Markdown, as code
        self._write(step=0, summary=self._summary.text("configuration", text))
        return 0

    def add(self, number: int, event: Event) -> None:
        """Record metrics of a step by step, all others by epoch."""
        x = event.epoch if event.class_step is None else event.class_step
        for name, value in event.values.items():
            self._write(step=x, summary=self._summary.scalar(name, value))
        self._file.flush()

    def _write(self, **content: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **content)
        self._records.write(event.SerializeToString())

    def caught_up(self) -> None:
        """Publish the file; it contains all events of the older ones."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._part, self._folder / f"{NAME}.{time.time_ns()}.avcil")
        for file in self._old:
            # A running TensorBoard does not proceed if the file that it reads is removed; after an empty file it does.
            if file.stat().st_size:
                os.truncate(file, 0)
            else:
                file.unlink()

    def close(self, *, finished: bool) -> None:
        self._file.close()


TRACKER = TensorBoard
