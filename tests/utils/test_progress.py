"""Progress: a bar in a terminal, lines in a log, no output for short work."""

from __future__ import annotations

import io

import pytest

from avcil.utils import progress
from avcil.utils.progress import PhaseProgress, Progress


class Terminal(io.StringIO):
    """Text that was written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_short_work_writes_no_log_lines() -> None:
    """Work that takes less than the time between two lines writes nothing."""
    log = io.StringIO()
    with Progress(10, "clips", file=log) as bar:
        for _ in range(10):
            bar.step()
    assert log.getvalue() == ""


def test_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line has the number of finished items, all items, failures, and the time left; lines do not overlap."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    log = io.StringIO()
    with Progress(8, "clips", title="step 1/2", initial=4, file=log) as bar:
        bar.last_print_t -= 100
        bar.step()
        bar.step(failed=True)
    lines = log.getvalue().splitlines()
    assert lines[1].startswith("step 1/2: 5 of 8 clips, 0.01 clips/s, "), "not seconds per clip if it is slow"
    assert lines[-1].startswith("step 1/2: 6 of 8 clips, failed=1, ")
    assert lines[-1].endswith(" left")
    assert "\r" not in log.getvalue()
    assert "" not in lines


def test_messages_add_no_lines_to_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`write` clears and shows the bar in a terminal; a log file would get an empty and a repeated line."""
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with Progress(3, "runs") as bar:
        bar.step()
        bar.write("one run is finished")
    assert log.getvalue() == ""
    assert capsys.readouterr().out == "one run is finished\n"


def test_terminal_shows_a_bar() -> None:
    """The bar remains on the screen with its last count."""
    terminal = Terminal()
    with Progress(2048, "B", title="a.zip", file=terminal) as bar:
        bar.update(2048)
    assert "a.zip: 100%" in terminal.getvalue()
    assert "2.00k/2.00k" in terminal.getvalue()


def test_quiet_shows_nothing() -> None:
    """With `quiet`, there is no output in a terminal either."""
    terminal = Terminal()
    with Progress(3, "runs", quiet=True, file=terminal) as bar:
        bar.step(failed=True)
    assert terminal.getvalue() == ""


def test_bar_for_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks report the progress; a bar ends with its phase."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    show = PhaseProgress()
    for phase, total in (("reading", 2), ("learning", 1)):
        for done in range(total + 1):
            show(phase, done, total)
    assert "reading:   0%" in terminal.getvalue()
    assert "learning:   0%" in terminal.getvalue()
