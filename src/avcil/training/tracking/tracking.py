"""Telling a tracker of a run: each event once, whatever was killed when, and never at the run's cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

from avcil.runs.records import Epoch, Results
from avcil.training.tracking.base import TrackedRun, Tracker
from avcil.training.tracking.events import Event, epoch_event, results_event, step_event
from avcil.utils.progress import Progress


class Tracking:
    """Counts a run's events and hands those to a tracker that it has not yet; without a tracker it does nothing.

    What the tracker raises is said once on standard error, and it is told no more.
    """

    def __init__(self, name: str, tracker: Tracker | None, run: TrackedRun) -> None:
        self._name, self._tracker, self._run = name, tracker, run
        self._number = self._epochs = self._held = 0
        self._caught_up = self._finished = False

    def catch_up(self, so_far: Callable[[], Iterable[Event]]) -> None:
        """Begin with the events that there are already; later calls do nothing."""
        if self._caught_up:
            return
        self._caught_up = True
        with self._guard():
            if self._tracker is not None:
                self._held = self._tracker.begin(self._run)
                for event in so_far():
                    self._add(event)
        with self._guard():
            if self._tracker is not None:
                self._tracker.caught_up()

    def epoch(self, line: Epoch) -> None:
        """A line of metrics.jsonl was written."""
        self._live(epoch_event(line, self._epochs))

    def step(self, accuracies: Sequence[float], sizes: Sequence[int]) -> None:
        """A step is done; `sizes`: test clips of each task."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tracker, self._tracker = self._tracker, None
        with self._guard():
            if tracker is not None and self._caught_up:
                tracker.close(finished=self._finished)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Let no error of the tracker out."""
        try:
            yield
        except Exception as error:  # a tracker may be a network, a disk, a service
            if self._tracker is not None:
                with suppress(Exception):  # what it holds of files and connections
                    self._tracker.close(finished=False)
            self._tracker = None
            Progress.write(
                f"avcil: tracking by {self._name} failed, the run goes on without it ({type(error).__name__}: {error})."
                " To log what is missing, run the same command again once that is mended",
                file=sys.stderr,
            )
