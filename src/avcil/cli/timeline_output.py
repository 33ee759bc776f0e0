"""How timelines are printed and written: a strip for people, CSV, JSON and WebVTT for programs."""

from __future__ import annotations

import csv
import io
import json
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from avcil.clips import one_line

if TYPE_CHECKING:
    from avcil.serving.timeline import Event

COLUMNS = ("path", "start", "end", "label", "probability", "known", "windows", "notes")
STRIP = 72
"""Signs that a video's strip has."""
SIGNS = string.ascii_uppercase + string.ascii_lowercase + string.digits


class TimelineWriter:
    """Events one after another: on the screen as they come, and into a file, whole, at the end."""

    def __init__(self, form: str, out: Path | None) -> None:
        self.out = out
        self._file = io.StringIO(newline="")
        self._count = 0
        self._events: list[Event] = []
        self._streams: list[tuple[str, TextIO]] = [(form, sys.stdout)]
        if out is not None:
            self._streams = [("text", sys.stdout), (form, self._file)]
        for kind, stream in self._streams:
            if kind == "csv":
                csv.writer(stream, lineterminator="\n").writerow(COLUMNS)
            elif kind == "webvtt":
                stream.write("WEBVTT\n")

    def begin(self, path: Path) -> None:
        """A new video."""
        self._events = []
        for kind, stream in self._streams:
            if kind == "text":
                print(one_line(str(path)), file=stream, flush=True)

    def add(self, path: Path, event: Event) -> None:
        """Tell one event."""
        self._events.append(event)
        for kind, stream in self._streams:
            if kind == "json":
                self._write_json(stream, {"path": str(path), **event_json(event)})
            elif kind == "csv":
                value = event_json(event)
                known = {True: "yes", False: "no", None: ""}[event.known]
                row = {**value, "path": str(path), "known": known, "label": event.label or ""}
                csv.writer(stream, lineterminator="\n").writerow([row[name] for name in COLUMNS])
            elif kind == "webvtt":
                stream.write(_cue(event))
            else:
                print(f"  {_line(event)}", file=stream)
            stream.flush()
        self._count += any(kind == "json" for kind, _ in self._streams)

    def fail(self, path: Path, reason: str) -> None:
        """Say in the JSON, as for clips, that a video could not be answered for."""
        for kind, stream in self._streams:
            if kind == "json":
                self._write_json(stream, {"path": str(path), "error": reason})
                self._count += 1

    def end(self, path: Path) -> None:
        """The video's strip."""
        for kind, stream in self._streams:
            if kind == "text" and self._events:
                for line in strip(self._events):
                    print(f"  {line}", file=stream, flush=True)

    def close(self) -> None:
        """End what was begun, and write the file."""
        from avcil.files import write_text

        for kind, stream in self._streams:
            if kind == "json":
                stream.write("\n]\n" if self._count else "[]\n")
        if self.out is not None:
            write_text(self.out, self._file.getvalue())

    def _write_json(self, stream: TextIO, value: dict[str, Any]) -> None:
        stream.write(("[\n" if not self._count else ",\n") + json.dumps(value, ensure_ascii=False))


def event_json(event: Event) -> dict[str, Any]:
    """An event as an object; seconds to the millisecond."""
    return {
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "label": event.label,
        "probability": round(event.probability, 6),
        "known": event.known,
        "windows": event.windows,
        "notes": event.notes,
    }


def strip(events: list[Event]) -> list[str]:
    """A video's length as a line of signs, a class each, and what they stand for.

    A dot is where there is nothing to answer for, or nothing that is known.
    """
    end = events[-1].end
    signs: dict[str, str] = {}
    line = ""
    for column in range(STRIP):
        moment = (column + 0.5) * end / STRIP
        event = next((e for e in events if e.start <= moment < e.end), events[-1])
        if event.label is None or event.known is False:
            line += "."
            continue
        line += signs.setdefault(event.label, SIGNS[len(signs)] if len(signs) < len(SIGNS) else "+")
    legend = ", ".join(f"{sign} {one_line(label)}" for label, sign in signs.items())
    return [f"|{line}| {clock(end)}", legend or ". nothing known"]


def clock(seconds: float) -> str:
    """A moment as WebVTT writes it.

    >>> clock(3725.5)
    '01:02:05.500'
    """
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _line(event: Event) -> str:
    said = "nothing to answer for" if event.label is None else one_line(event.label)
    sure = "" if event.label is None else f"  {100 * event.probability:.0f} %"
    odd = "  (perhaps none of its classes)" if event.known is False else ""
    note = f"  note: {event.notes}" if event.notes else ""
    return f"{clock(event.start)} - {clock(event.end)}  {said}{sure}{odd}{note}"


def _cue(event: Event) -> str:
    """A WebVTT cue; none where nothing was answered. Signs of its markup are escaped."""
    if event.label is None:
        return ""
    label = one_line(event.label).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    odd = "?" if event.known is False else ""
    return f"\n{clock(event.start)} --> {clock(event.end)}\n{label}{odd} ({100 * event.probability:.0f} %)\n"
