"""Results one after another: on the screen as they come, and into a file, whole, when the last is there or it is
stopped."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from avcil.cli.output_streams import OutputError


class TextStream(Protocol):
    """What results are written to."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


class ResultWriter:
    """Where results go. Used in a `with` block, at whose end, whatever ends it, the file is written."""

    def __init__(self, form: str, out: Path | None, *, columns: Iterable[str]) -> None:
        self.out = out
        self._file = io.StringIO(newline="")
        screen: TextStream = sys.stdout if out is None else _Screen()
        self.streams: list[tuple[str, TextStream]] = [(form, screen)]
        if out is not None:
            self.streams = [("text", screen), (form, self._file)]
        self._objects = 0
        for kind, stream in self.streams:
            if kind == "csv":
                csv.writer(stream, lineterminator="\n").writerow(columns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        from avcil.utils.files import write_text

        for kind, stream in self.streams:
            if kind == "json":
                stream.write("\n]\n" if self._objects else "[]\n")
        if self.out is not None:
            write_text(self.out, self._file.getvalue())
            print(f"wrote {self.out}", file=self.screen)

    @property
    def screen(self) -> TextStream:
        """Where people read."""
        return self.streams[0][1]

    @property
    def shows_text(self) -> bool:
        """Whether it is people who read there."""
        return self.streams[0][0] == "text"

    def each(self) -> Iterator[tuple[str, TextStream]]:
        """Every stream with its format; what is written to one is seen at once."""
        for kind, stream in self.streams:
            yield kind, stream
            stream.flush()

    def write_object(self, stream: TextStream, value: dict[str, Any]) -> None:
        """One object more of a JSON list."""
        stream.write(("[\n" if not self._objects else ",\n") + json.dumps(value, ensure_ascii=False))
        self._objects += 1

    @staticmethod
    def write_row(stream: TextStream, row: Iterable[Any]) -> None:
        """One row more of a CSV file."""
        csv.writer(stream, lineterminator="\n").writerow(row)


@contextmanager
def _reported() -> Iterator[None]:
    """Say once that standard output cannot be written; further output is dropped."""
    try:
        yield
    except OutputError as error:
        if not error.is_wanted:
            print(f"avcil: {error}", file=sys.stderr)


class _Screen:
    """Standard output beside a file, which is written even if the screen cannot be, as behind `| head`."""

    def write(self, text: str) -> int:
        with _reported():
            sys.stdout.write(text)
        return len(text)

    def flush(self) -> None:
        with _reported():
            sys.stdout.flush()

    def isatty(self) -> bool:
        return sys.stdout.isatty()
