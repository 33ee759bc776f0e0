"""Progress on stderr: a bar in a terminal, a line every 15 seconds in a log file."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress(tqdm):
    """A tqdm bar that writes lines instead if the output is not a terminal."""

    monitor_interval = 0  # no monitor thread: the program may fork

    def __init__(
        self,
        total: int | None,
        unit: str,
        *,
        title: str | None = None,
        initial: int = 0,
        leave: bool = True,
        quiet: bool = False,
        file: TextIO | None = None,
    ) -> None:
        """
        Args:
            total: Number of units; None if unknown.
            unit: Name of the unit; "B" for bytes, shown with binary prefixes; "" if the title names it.
            title: Text before the bar.
            initial: Number of units that were done earlier.
            leave: Whether the bar remains visible at the end.
            quiet: Show nothing.
            file: Output stream; None is standard error.
        """
        file = file or sys.stderr
        is_bytes = unit == "B"
        options: dict[str, Any] = {"unit_scale": True, "unit_divisor": 1024} if is_bytes else {}
        self.in_log = not file.isatty()
        if self.in_log:
            options |= {"mininterval": SECONDS_BETWEEN_LINES, "delay": SECONDS_BETWEEN_LINES, "miniters": 1}
            options["bar_format"] = (
                "{desc}{n_fmt} of {total_fmt}{unit}{postfix}, {rate_noinv_fmt}, {remaining} left"
            )
        super().__init__(
            total=total,
            unit=unit if is_bytes else f" {unit}".rstrip(),
            desc=title and f"{title}: ",
            initial=initial,
            leave=leave,
            disable=quiet,
            file=file,
            dynamic_ncols=True,
            **options,
        )

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:  # type: ignore[override]  # always a text file
        """The function with which tqdm writes its text."""
        if file.isatty():
            return tqdm.status_printer(file)
        return lambda text: print(*text.split(), file=file, flush=True)  # tqdm pads numbers with spaces

    def clear(self, nolock: bool = False) -> None:
        """Clear the bar before a message; a line in a log file remains."""
        if not self.in_log:
            super().clear(nolock)

    def refresh(self, nolock: bool = False, lock_args: tuple[Any, ...] | None = None) -> None:
        """Show the bar again; `write` calls this with `nolock` after a message, which adds no line to a log file."""
        if not (self.in_log and nolock):
            super().refresh(nolock, lock_args)

    def step(self, *, failed: bool = False) -> None:
        """Count one more unit; failed ones are also counted separately."""
        if failed:
            self.failed = getattr(self, "failed", 0) + 1
            self.set_postfix(failed=self.failed, refresh=False)
        self.update()

    def close(self) -> None:
        """End the bar; a log file gets no further line."""
        if self.in_log:
            self.delay = math.inf
        super().close()


ProgressCallback = Callable[[str, int, int], None]
"""Called with the phase ("reading clips", "learning"), the number of units done, and their total."""


class PhaseProgress:
    """A `ProgressCallback` that shows a bar for each phase."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._phase = ""

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._bar is None or phase != self._phase:
            self.close()
            self._bar, self._phase = Progress(total, "", title=phase, leave=False), phase
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        """End the bar of an incomplete phase."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """Format a duration.

    >>> duration(3725)
    '1 h 2 min'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
