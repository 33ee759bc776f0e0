"""Passes each event of a run to a tracker once, also after a kill. Errors of a tracker never stop the run."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from avcil.runs.paths import RunPaths
from avcil.runs.records import Epoch, Results
from avcil.runs.run_config import RunConfig
from avcil.training.tracking.events import Event, epoch_event, results_event, step_event
from avcil.utils.progress import Progress


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker records."""

    paths: RunPaths
    config: RunConfig

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.paths.folder.absolute().name

    @cached_property
    def stamp(self) -> str:
        """An identifier that stays the same when the run is resumed, and differs for a new run of the same name.

        It depends on the time of config.json, which is written once, when a run starts.
        """
        content = [self.name, self.paths.config.stat().st_mtime_ns, self.config.to_dict()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class Tracker:
    """Base class of trackers. Methods may raise any exception: `Tracking` handles them."""

    def begin(self, run: TrackedRun) -> int:
        """Open the record of the run, new or existing; returns the number of events that it contains already."""
        raise NotImplementedError

    def add(self, number: int, event: Event) -> None:
        """Record the event with this number, counted from 0."""
        raise NotImplementedError

    def caught_up(self) -> None:
        """Called once, after all events of the time before the run was started or resumed."""

    def close(self, *, finished: bool) -> None:
        """Close the record; `finished` is False if the run will be resumed."""
        raise NotImplementedError


class Tracking:
    """Counts the events of a run and passes those to the tracker that it does not have yet.

    An error of the tracker is printed once to standard error, and the tracker is not used again. Without a tracker, all
    methods do nothing.
    """

    def __init__(self, name: str, tracker: Tracker | None, run: TrackedRun) -> None:
        self._name, self._tracker, self._run = name, tracker, run
        self._number = self._epochs = self._held = 0
        self._caught_up = self._finished = False

    def catch_up(self, so_far: Callable[[], Iterable[Event]]) -> None:
        """Open the record and pass the events so far; later calls do nothing."""
        if self._caught_up:
            return
        self._caught_up = True
        with self._guard():
            if self._tracker is not None:
                self._held = self._tracker.begin(self._run)
                for event in so_far():
                    self._add(event)
                self._tracker.caught_up()

    def epoch(self, line: Epoch) -> None:
        """A line of metrics.jsonl was written."""
        self._live(epoch_event(line, self._epochs))

    def step(self, accuracies: Sequence[float | None], sizes: Sequence[int]) -> None:
        """A step is finished. `sizes` are the numbers of test clips of each task."""
        self._live(step_event(accuracies, sizes, self._epochs - 1))

    def results(self, results: Results) -> None:
        """The run is finished."""
        self._live(results_event(results, self._epochs - 1))

    def _live(self, event: Event) -> None:
        with self._guard():
            self._add(event)

    def _add(self, event: Event) -> None:
        self._epochs = event.epoch + 1
        self._finished = any(name.startswith("final/") for name in event.values)
        if self._tracker is not None and self._number >= self._held:
            self._tracker.add(self._number, event)
        self._number += 1

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        tracker, self._tracker = self._tracker, None
        with self._guard():
            if tracker is not None and self._caught_up:
                tracker.close(finished=self._finished)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Report an error of the tracker instead of raising it."""
        try:
            yield
        except Exception as error:  # trackers use networks, disks and services
            if self._tracker is not None:
                with suppress(Exception):  # its files and connections
                    self._tracker.close(finished=False)
            self._tracker = None
            Progress.write(
                f"avcil: tracking by {self._name} failed, the run goes on without it ({type(error).__name__}: {error})."
                " To log what is missing, correct the cause and run the same command again",
                file=sys.stderr,
            )
