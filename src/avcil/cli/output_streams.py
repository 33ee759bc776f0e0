"""Standard output and standard error that may be closed, full, or read by nobody."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from avcil.errors import AvcilError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(AvcilError):
    """What a command prints could not be written."""

    def __init__(self, error: OSError) -> None:
        self.is_wanted = isinstance(error, BrokenPipeError)
        """Whether the reader simply stopped reading, as `head` does."""
        super().__init__(
            f"cannot write to standard output: {error.strerror}. What the command did before is kept. Send its output "
            "to a file or to /dev/null, and run it again"
        )


class _Descriptor(io.RawIOBase):
    """A file descriptor. After a write that failed, all further writes are dropped, those at exit included."""

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
            return memoryview(data).nbytes  # progress and messages; the work must not stop for want of them


def prepare_streams() -> None:
    """Make standard output raise `OutputError` where it cannot be written, and standard error never raise.

    Closed descriptors are taken up first: otherwise the next file that is opened would get their numbers, and what is
    printed would be written into it. Streams that were replaced, as tests do, stay as they are.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _take_up(number, mode)
    if sys.stdout is None or _is_own(sys.stdout, 1):
        sys.stdout = output_stream(1, is_needed=True, encoding=_encoding(sys.stdout))
    if sys.stderr is None or _is_own(sys.stderr, 2):
        sys.stderr = output_stream(2, is_needed=False, encoding=_encoding(sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of classes and files that it cannot show


def _encoding(stream: object) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _take_up(number: int, mode: int) -> None:
    """Open /dev/null as this descriptor if it is closed; writing to one opened for reading fails."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)


def _is_own(stream: object, number: int) -> bool:
    """Whether the stream is the interpreter's own, of this descriptor."""
    own = sys.__stdout__ if number == 1 else sys.__stderr__
    return stream is own and stream is not None and own is not None and own.fileno() == number


def output_stream(number: int, *, is_needed: bool, encoding: str = "utf-8") -> io.TextIOWrapper:
    """A text stream to a descriptor.

    Args:
        number: The descriptor; it stays open when the stream is closed.
        is_needed: Whether a failed write raises `OutputError`; else what cannot be written is dropped.
        encoding: Of the text.
    """
    raw = _Descriptor(number, is_needed=is_needed)
    is_direct = not is_needed or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, line_buffering=is_direct)
