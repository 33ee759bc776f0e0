"""Progress of long work on stderr: a bar in a terminal, a line every 15 seconds in a log."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress(tqdm):
    """tqdm, which in a log writes lines instead of redrawing a bar."""

    monitor_interval = 0  # no thread beside the work, which may fork

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
        """Show nothing yet.

        Args:
            total: How much there is to do, None if it is not known yet.
            unit: What is counted; "B" for bytes, with binary prefixes.
            title: What is done, before the bar.
            initial: How much was done before, by an earlier command.
            leave: Whether the bar stays in the terminal when the work is done.
            quiet: Show nothing at all.
            file: Where to write; standard error if not given.
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
            unit=unit if is_bytes else f" {unit}",
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
        """How tqdm writes its text."""
        if file.isatty():
            return tqdm.status_printer(file)
        return lambda text: print(text, file=file, flush=True)

    def step(self, *, failed: bool = False) -> None:
        """One more is done; `failed` ones are also counted separately."""
        if failed:
            self.failed = getattr(self, "failed", 0) + 1
            self.set_postfix(failed=self.failed, refresh=False)
        self.update()

    def close(self) -> None:
        """End the bar; a log gets no last line."""
        if self.in_log:
            self.delay = math.inf
        super().close()


ProgressCallback = Callable[[str, int, int], None]
"""Called with what is being done ("reading clips", "learning"), how much of it is done, and how much there is."""


class PhaseProgress:
    """A callback for work that reports what is being done, how much of it is done, and how much there is."""

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
        """End the bar of a phase that did not come to its end."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(3725)
    '1 h 2 min'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
