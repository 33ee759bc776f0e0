"""Measures how long the parts of a step take.

learning     training: batches, outputs of the teacher, statistics, selection of exemplars
validation   evaluating validation clips; gradient methods select the best epoch by it
reading      reading clips of the step from the feature store into memory, if they fit
testing      evaluating test clips, writing predictions
saving       writing checkpoints within a step
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

LEARNING, VALIDATION, READING, TESTING, SAVING = "learning", "validation", "reading", "testing", "saving"
PARTS = (LEARNING, VALIDATION, READING, TESTING, SAVING)


class Timer:
    """Seconds of each part. The time of a nested part counts only for the inner part.

    >>> ticks = iter([0.0, 1.0, 4.0, 5.0])
    >>> timer = Timer(clock=lambda: next(ticks))
    >>> with timer.during("learning"), timer.during("reading"):
    ...     pass
    >>> timer.seconds["learning"], timer.seconds["reading"]
    (2.0, 3.0)
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0
        self.seconds: dict[str, float] = {}
        self.start({})

    def start(self, seconds: Mapping[str, float]) -> None:
        """Start a step; `seconds` are those of the step before it was interrupted."""
        self.seconds = {part: seconds.get(part, 0.0) for part in PARTS}

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """Measure the time of a with block for `part`, one of `PARTS`."""
        self._lap()
        self._open.append(part)
        try:
            yield
        finally:
            self._lap()
            self._open.pop()

    def _lap(self) -> None:
        now = self._clock()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds of each part so far."""
        self._lap()
        return dict(self.seconds)


def training_seconds(seconds: Mapping[str, float], *, selects: bool) -> float:
    """Training time of one step: learning and reading, and validation if it selects the epoch.

    >>> training_seconds({"learning": 2.0, "reading": 1.0, "validation": 4.0}, selects=False)
    3.0
    """
    return seconds[LEARNING] + seconds[READING] + (seconds[VALIDATION] if selects else 0.0)
