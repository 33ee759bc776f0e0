"""Write results one by one to standard output, and all of them to a file at the end or after Ctrl-C."""

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

YES_NO = {True: "yes", False: "no", None: ""}
"""Values of the CSV column in_distribution."""


class TextStream(Protocol):
    """A stream for results."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


class ResultWriter:
    """A context manager for results; the file is written on exit, also after an error.

    Args:
        output_format: Format of the file, or of standard output without a file.
        out: The file, or None.
        columns: Of the CSV format.
    """

    def __init__(self, output_format: str, out: Path | None, *, columns: Iterable[str]) -> None:
        self.out = out
        self._file = io.StringIO(newline="")
        screen: TextStream = sys.stdout if out is None else _Screen()
        self.streams: list[tuple[str, TextStream]] = [(output_format, screen)]
        if out is not None:
            self.streams = [("text", screen), (output_format, self._file)]
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
        """Standard output."""
        return self.streams[0][1]

    @property
    def shows_text(self) -> bool:
        """Whether standard output has the text format."""
        return self.streams[0][0] == "text"

    def each(self) -> Iterator[tuple[str, TextStream]]:
        """Yield the format of each stream and the stream, which is flushed afterwards."""
        for kind, stream in self.streams:
            yield kind, stream
            stream.flush()

    def write_object(self, stream: TextStream, value: dict[str, Any]) -> None:
        """Write an object of the JSON list."""
        stream.write(("[\n" if not self._objects else ",\n") + json.dumps(value, ensure_ascii=False))
        self._objects += 1

    @staticmethod
    def write_row(stream: TextStream, row: Iterable[Any]) -> None:
        """Write a row of a CSV file."""
        csv.writer(stream, lineterminator="\n").writerow(row)


@contextmanager
def _reported() -> Iterator[None]:
    """Print an error of standard output once; further output is dropped."""
    try:
        yield
    except OutputError as error:
        if not error.is_broken_pipe:
            print(f"avcil: {error}", file=sys.stderr)


class _Screen:
    """Standard output whose errors do not stop the command, for example in a pipe to `head`."""

    def write(self, text: str) -> int:
        with _reported():
            sys.stdout.write(text)
        return len(text)

    def flush(self) -> None:
        with _reported():
            sys.stdout.flush()

    def isatty(self) -> bool:
        return sys.stdout.isatty()
