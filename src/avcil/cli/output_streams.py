"""Standard output and standard error that can be closed, full, or a broken pipe."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from avcil.errors import AvcilError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(AvcilError):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        self.is_broken_pipe = isinstance(error, BrokenPipeError)
        """Whether the reader stopped reading, as `head` does; this is not an error."""
        super().__init__(
            f"cannot write to standard output: {error.strerror}. Finished work is kept. Redirect the output to a file "
            "or to /dev/null, and run the command again"
        )


class _Descriptor(io.RawIOBase):
    """A file descriptor. After a failed write, all further writes are dropped, including those at exit."""

    def __init__(self, number: int, *, is_needed: bool) -> None:
        self._number, self._is_needed = number, is_needed
        self._is_broken = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: ReadableBuffer) -> int:
        if self._is_broken:
            return memoryview(data).nbytes
        try:
            return os.write(self._number, data)
        except BlockingIOError:
            raise
        except OSError as error:
            if self._is_needed:
                self._is_broken = True
                raise OutputError(error) from None
            return memoryview(
                data
            ).nbytes  # progress and messages: failing to print them must not stop the work


def prepare_streams() -> None:
    """Make failed writes to standard output raise `OutputError`, and those to standard error be ignored.

    Closed descriptors are opened first; otherwise the next opened file would get their numbers, and printed text would
    be written to it. Streams that were replaced, for example by tests, are not changed.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _open_if_closed(number, mode)
    if sys.stdout is None or _is_original(sys.stdout, 1):
        sys.stdout = output_stream(1, is_needed=True, encoding=_encoding(sys.stdout))
    if sys.stderr is None or _is_original(sys.stderr, 2):
        sys.stderr = output_stream(2, is_needed=False, encoding=_encoding(sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for names that the encoding cannot represent


def _encoding(stream: object) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _open_if_closed(number: int, mode: int) -> None:
    """Open /dev/null as this descriptor if it is closed. Writing to one opened for reading fails."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)


def _is_original(stream: object, number: int) -> bool:
    """Whether it is the interpreter's stream of this descriptor."""
    original = sys.__stdout__ if number == 1 else sys.__stderr__
    return stream is original and original is not None and original.fileno() == number


def output_stream(number: int, *, is_needed: bool, encoding: str = "utf-8") -> io.TextIOWrapper:
    """A text stream to a descriptor.

    Args:
        number: The descriptor; it stays open when the stream is closed.
        is_needed: Whether a failed write raises `OutputError`; otherwise it is ignored.
        encoding: Of the text.
    """
    raw = _Descriptor(number, is_needed=is_needed)
    is_direct = not is_needed or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, line_buffering=is_direct)
