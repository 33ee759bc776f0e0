"""Progress of long work on stderr: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts `total` things named `unit`, of which `begun` were done before; shows rate and time left."""

    def __init__(self, total: int, unit: str, *, begun: int = 0, stream: TextIO | None = None) -> None:
        self.total, self.unit, self.begun = total, unit, begun
        self.stream = stream or sys.stderr
        self.done = self.failed = 0
        self._start = self._said = time.monotonic()
        self._bar = None
        if self.stream.isatty():
            self._bar = tqdm(
                total=total, initial=begun, unit=f" {unit}", file=self.stream, dynamic_ncols=True
            )

    def step(self, *, failed: bool = False) -> None:
        """One thing more is done, well or not."""
        self.done += 1
        self.failed += failed
        if self._bar is not None:
            if failed:
                self._bar.set_postfix(failed=self.failed, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            print(self.line(), file=self.stream, flush=True)

    def line(self) -> str:
        """How far it is, in one line."""
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        left = (self.total - self.begun - self.done) / rate if rate else 0.0
        failed = f", {self.failed} failed" if self.failed else ""
        count = f"{self.begun + self.done} of {self.total} {self.unit}"
        return f"{count}{failed}, {rate:.3g} a second, {duration(left)} left"

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(3725)
    '1 h 2 min'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
