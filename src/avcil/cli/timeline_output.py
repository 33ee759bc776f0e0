"""Print and write timelines as text, CSV, JSON and WebVTT."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avcil.cli.result_writer import YES_NO, ResultWriter
from avcil.data.clips import one_line

if TYPE_CHECKING:
    from avcil.inference.timeline import TimelineEvent

COLUMNS = ("path", "start", "end", "label", "probability", "in_distribution", "windows", "notes")
_STRIP_WIDTH = 72
"""Characters of the overview of a video."""
_MAX_LABEL_WIDTH = 24
_PALETTE = (75, 215, 78, 212, 221, 80, 210, 147)
"""Light terminal colors for black letters."""
_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits


class TimelineWriter(ResultWriter):
    """Writes the events of one video after another."""

    def __init__(self, output_format: str, out: Path | None, *, labels: Sequence[str]) -> None:
        super().__init__(output_format, out, columns=COLUMNS)
        self._width = min(_MAX_LABEL_WIDTH, max(len(one_line(label)) for label in labels))
        self._events: list[TimelineEvent] = []
        for kind, stream in self.streams:
            if kind == "webvtt":
                stream.write("WEBVTT\n")

    def begin(self, path: Path) -> None:
        """Start a video."""
        self._events = []
        for kind, stream in self.each():
            if kind == "text":
                print(one_line(str(path)), file=stream)

    def add(self, path: Path, event: TimelineEvent) -> None:
        """Write an event."""
        self._events.append(event)
        for kind, stream in self.each():
            if kind == "json":
                self.write_object(stream, {"path": str(path), **_event_json(event)})
            elif kind == "csv":
                row = {
                    **_event_json(event),
                    "path": str(path),
                    "in_distribution": YES_NO[event.in_distribution],
                    "label": event.label or "",
                }
                self.write_row(stream, (row[name] for name in COLUMNS))
            elif kind == "webvtt":
                stream.write(_cue(event))
            else:
                print(f"  {_line(event, self._width)}".rstrip(), file=stream)

    def fail(self, path: Path, reason: str) -> None:
        """Write the error of a video that could not be predicted."""
        for kind, stream in self.each():
            if kind == "json":
                self.write_object(stream, {"path": str(path), "error": reason})

    def end(self) -> None:
        """Write the overview of the video."""
        for kind, stream in self.each():
            if kind == "text" and self._events:
                colored = stream.isatty() and not os.environ.get("NO_COLOR")
                for line in strip(self._events, colored=colored):
                    print(f"  {line}", file=stream)


def _event_json(event: TimelineEvent) -> dict[str, Any]:
    """An event as a JSON object; times are rounded to milliseconds."""
    return {
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "label": event.label,
        "probability": round(event.probability, 6),
        "in_distribution": event.in_distribution,
        "windows": event.windows,
        "notes": event.notes,
    }


def strip(events: list[TimelineEvent], *, colored: bool = False) -> list[str]:
    """An overview of a video as a line of letters, one per class, and the legend.

    A dot means no prediction, or possibly an unknown class.
    """
    end = events[-1].end
    letters: dict[str, str] = {}
    line = ""
    for column in range(_STRIP_WIDTH):
        time = (column + 0.5) * end / _STRIP_WIDTH
        event = next((e for e in events if e.start <= time < e.end), events[-1])
        if event.label is None or event.in_distribution is False:
            line += "."
            continue
        line += letters.setdefault(
            event.label, _LETTERS[len(letters)] if len(letters) < len(_LETTERS) else "+"
        )
    legend = [f"{letter} {one_line(label)}" for label, letter in letters.items()]
    legend += [". possibly unknown"] if "." in line else []
    if colored:
        line = "".join(map(_colored, line))
        legend = [_colored(text[0]) + text[1:] for text in legend]
    return [f"|{line}| {timestamp(end)}", ", ".join(legend)]


def _colored(letter: str) -> str:
    """A letter on the color of its class (ECMA-48, palette of 256)."""
    if letter == ".":
        return letter
    return f"\x1b[30;48;5;{_PALETTE[_LETTERS.find(letter) % len(_PALETTE)]}m{letter}\x1b[0m"


def timestamp(seconds: float) -> str:
    """A time in the format of WebVTT.

    >>> timestamp(3725.5)
    '01:02:05.500'
    """
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _line(event: TimelineEvent, width: int) -> str:
    label = "no prediction" if event.label is None else one_line(event.label)
    probability = "" if event.label is None else f"{100 * event.probability:3.0f} %"
    unknown = "possibly unknown" if event.in_distribution is False else ""
    remarks = "; ".join(filter(None, (unknown, f"note: {event.notes}" if event.notes else "")))
    return f"{timestamp(event.start)} - {timestamp(event.end)}  {label:<{width}}  {probability:<5}  {remarks}"


def _cue(event: TimelineEvent) -> str:
    """A WebVTT cue; empty without a prediction. Markup is escaped."""
    if event.label is None:
        return ""
    label = one_line(event.label).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    mark = "?" if event.in_distribution is False else ""
    times = f"{timestamp(event.start)} --> {timestamp(event.end)}"
    return f"\n{times}\n{label}{mark} ({100 * event.probability:.0f} %)\n"
