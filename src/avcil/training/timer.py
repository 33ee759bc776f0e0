"""What the seconds of a step went into.

learning     what makes the model: batches, epochs, the teacher's answers, statistics, the choice of exemplars
validation   asking about validation clips; a gradient method chooses its best epoch by it
reading      clips of the step from the feature store into memory, where they fit
testing      test clips asked about, predictions written
saving       progress within a step, so that a kill costs little
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

LEARNING, VALIDATION, READING, TESTING, SAVING = "learning", "validation", "reading", "testing", "saving"
PARTS = (LEARNING, VALIDATION, READING, TESTING, SAVING)


class Timer:
    """Seconds of each part; where one is within another, the inner one alone has them.

    >>> ticks = iter([0.0, 1.0, 4.0, 5.0])
    >>> watch = Timer(clock=lambda: next(ticks))
    >>> with watch.during("learning"), watch.during("reading"):
    ...     pass
    >>> watch.seconds["learning"], watch.seconds["reading"]
    (2.0, 3.0)
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: list[str] = []
        self._since = 0.0
        self.seconds: dict[str, float] = {}
        self.start({})

    def start(self, seconds: Mapping[str, float]) -> None:
        """Begin a step, which took `seconds` before it was interrupted."""
        self.seconds = {part: seconds.get(part, 0.0) for part in PARTS}

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """Count what runs within for `part`, of `PARTS`."""
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
        """Seconds of each part up to now."""
        self._lap()
        return dict(self.seconds)


def training_seconds(seconds: Mapping[str, float], *, chooses: bool) -> float:
    """Of one step: learning and reading, and validation where it `chooses` what is learnt.

    >>> training_seconds({"learning": 2.0, "reading": 1.0, "validation": 4.0}, chooses=False)
    3.0
    """
    return seconds[LEARNING] + seconds[READING] + (seconds[VALIDATION] if chooses else 0.0)
