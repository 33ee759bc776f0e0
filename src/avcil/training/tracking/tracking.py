"""Passes each event of a run to a tracker once, also after a kill. Errors of a tracker never stop the run."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from avcil.runs.paths import RunPaths
from avcil.runs.run_config import RunConfig
from avcil.training.tracking.events import Event
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
    """Passes the events of a run to the tracker that it does not have yet.

    An error of the tracker is printed once to standard error, and the tracker is not used again. Without a tracker, all
    methods do nothing.
    """

    def __init__(self, name: str, tracker: Tracker | None, run: TrackedRun) -> None:
        self._name, self._tracker, self._run = name, tracker, run
        self._recorded: int | None = None  # number of events that the tracker has; None before it is opened
        self._finished = False

    def update(self, history: Callable[[], Iterable[Event]]) -> None:
        """Pass new events; the first call opens the record. `history` returns all events so far."""
        tracker = self._tracker
        if tracker is None:
            return
        with self._guard():
            is_first = self._recorded is None
            if self._recorded is None:
                self._recorded = tracker.begin(self._run)
            for number, event in enumerate(history()):
                self._finished = event.is_final
                if number >= self._recorded:
                    tracker.add(number, event)
                    self._recorded = number + 1
            if is_first:
                tracker.caught_up()

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        tracker, self._tracker = self._tracker, None
        with self._guard():
            if tracker is not None and self._recorded is not None:
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
                f"avcil: tracking by {self._name} failed; the run continues without it ({type(error).__name__}: "
                f"{error}). To log what is missing, correct the cause and run the same command again",
                file=sys.stderr,
            )
