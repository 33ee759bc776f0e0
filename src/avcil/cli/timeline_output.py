"""How timelines are printed and written: a strip for people, CSV, JSON and WebVTT for programs."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avcil.cli.result_writer import ResultWriter
from avcil.data.clips import one_line

if TYPE_CHECKING:
    from avcil.inference.timeline import Event

COLUMNS = ("path", "start", "end", "label", "probability", "in_distribution", "windows", "notes")
STRIP = 72
"""Signs that a video's strip has."""
WIDEST = 24
"""Signs that are kept free for a class's name."""
PALETTE = (75, 215, 78, 212, 221, 80, 210, 147)
"""Light colors that black letters are read on."""
SIGNS = string.ascii_uppercase + string.ascii_lowercase + string.digits


class TimelineWriter(ResultWriter):
    """Events, those of one video after those of another."""

    def __init__(self, form: str, out: Path | None, *, labels: Sequence[str]) -> None:
        super().__init__(form, out, columns=COLUMNS)
        self._width = min(WIDEST, max(len(one_line(label)) for label in labels))
        self._events: list[Event] = []
        for kind, stream in self.streams:
            if kind == "webvtt":
                stream.write("WEBVTT\n")

    def begin(self, path: Path) -> None:
        """A new video."""
        self._events = []
        for kind, stream in self.each():
            if kind == "text":
                print(one_line(str(path)), file=stream)

    def add(self, path: Path, event: Event) -> None:
        """Tell one event."""
        self._events.append(event)
        for kind, stream in self.each():
            if kind == "json":
                self.write_object(stream, {"path": str(path), **event_json(event)})
            elif kind == "csv":
                known = {True: "yes", False: "no", None: ""}[event.in_distribution]
                row = {
                    **event_json(event),
                    "path": str(path),
                    "in_distribution": known,
                    "label": event.label or "",
                }
                self.write_row(stream, (row[name] for name in COLUMNS))
            elif kind == "webvtt":
                stream.write(_cue(event))
            else:
                print(f"  {_line(event, self._width)}".rstrip(), file=stream)

    def fail(self, path: Path, reason: str) -> None:
        """Say in the JSON, as for clips, that a video could not be answered for."""
        for kind, stream in self.each():
            if kind == "json":
                self.write_object(stream, {"path": str(path), "error": reason})

    def end(self) -> None:
        """The video's strip."""
        for kind, stream in self.each():
            if kind == "text" and self._events:
                colored = stream.isatty() and not os.environ.get("NO_COLOR")
                for line in strip(self._events, colored=colored):
                    print(f"  {line}", file=stream)


def event_json(event: Event) -> dict[str, Any]:
    """An event as an object; seconds to the millisecond."""
    return {
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "label": event.label,
        "probability": round(event.probability, 6),
        "in_distribution": event.in_distribution,
        "windows": event.windows,
        "notes": event.notes,
    }


def strip(events: list[Event], *, colored: bool = False) -> list[str]:
    """A video's length as a line of signs, a class each, and what they stand for.

    A dot is where there is nothing to answer for, or nothing that is known.
    """
    end = events[-1].end
    signs: dict[str, str] = {}
    line = ""
    for column in range(STRIP):
        moment = (column + 0.5) * end / STRIP
        event = next((e for e in events if e.start <= moment < e.end), events[-1])
        if event.label is None or event.in_distribution is False:
            line += "."
            continue
        line += signs.setdefault(event.label, SIGNS[len(signs)] if len(signs) < len(SIGNS) else "+")
    legend = [f"{sign} {one_line(label)}" for label, sign in signs.items()]
    legend += [". possibly unknown"] if "." in line else []
    if colored:
        line = "".join(map(_painted, line))
        legend = [_painted(text[0]) + text[1:] for text in legend]
    return [f"|{line}| {clock(end)}", ", ".join(legend)]


def _painted(sign: str) -> str:
    """A sign on the color of its class, for terminals (ECMA-48, palette of 256)."""
    if sign == ".":
        return sign
    return f"\x1b[30;48;5;{PALETTE[SIGNS.find(sign) % len(PALETTE)]}m{sign}\x1b[0m"


def clock(seconds: float) -> str:
    """A moment as WebVTT writes it.

    >>> clock(3725.5)
    '01:02:05.500'
    """
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _line(event: Event, width: int) -> str:
    said = "no prediction" if event.label is None else one_line(event.label)
    sure = "" if event.label is None else f"{100 * event.probability:3.0f} %"
    odd = "possibly unknown" if event.in_distribution is False else ""
    note = f"note: {event.notes}" if event.notes else ""
    remarks = "; ".join(filter(None, (odd, note)))
    return f"{clock(event.start)} - {clock(event.end)}  {said:<{width}}  {sure:<5}  {remarks}"


def _cue(event: Event) -> str:
    """A WebVTT cue; none where nothing was answered. Signs of its markup are escaped."""
    if event.label is None:
        return ""
    label = one_line(event.label).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    odd = "?" if event.in_distribution is False else ""
    return f"\n{clock(event.start)} --> {clock(event.end)}\n{label}{odd} ({100 * event.probability:.0f} %)\n"
