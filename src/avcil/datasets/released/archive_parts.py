"""Read-only files made of other files: several parts as one file, and a section of a file as a file."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from avcil.errors import InputError
from avcil.utils.input_files import open_regular


class _Seekable(io.RawIOBase):
    """Base class: a read-only file of `size` bytes with its own position."""

    size: int
    _position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position


class JoinedFile(_Seekable):
    """Several files, read as their concatenation; nothing is copied.

    Wrap it in `io.BufferedReader` for small reads.
    """

    def __init__(self, paths: Sequence[Path]):
        self._files: list[BinaryIO] = []
        try:
            for path in paths:
                self._files.append(open_regular(path))
        except (OSError, InputError):
            self.close()
            raise
        sizes = [file.seek(0, io.SEEK_END) for file in self._files]
        self._starts = [0, *accumulate(sizes)]
        self.size = self._starts[-1]

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Read up to the end of the current part; the next call continues with the next part."""
        if self._position >= self.size:
            return 0
        part = bisect_right(self._starts, self._position) - 1
        file = self._files[part]
        file.seek(self._position - self._starts[part])
        count = file.readinto(memoryview(buffer)[: self._starts[part + 1] - self._position])  # type: ignore
        self._position += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


class FileSlice(_Seekable):
    """The `size` bytes of a file from byte `start`. Closing it closes the underlying file."""

    def __init__(self, file: BinaryIO, start: int, size: int):
        self._file, self._start, self.size = file, start, size

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Read up to the end of the section."""
        count = max(0, min(len(buffer), self.size - self._position))
        if not count:
            return 0
        self._file.seek(self._start + self._position)
        read = self._file.readinto(memoryview(buffer).cast("B")[:count])  # type: ignore[attr-defined]
        self._position += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
