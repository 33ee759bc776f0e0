"""The bytes of a pickle, with limits of memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from avcil.datasets.released.pickled_numpy import UnsupportedPickle

MIB = 2**20
_MAX_NUMBER_BYTES = 8
"""Longer reads count towards the limit of memory."""
_MAX_NAME_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of time and memory for a file."""

    operations: int = 3_000_000
    """Maximum number of operations; each creates at most one small object."""
    held: int = 96 * MIB
    """Maximum bytes of all strings and arrays in memory."""


class PickleSource:
    """A file for `pickletools.genops`: truncated data is an error, and the memory in use is limited."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.file, self.limit = file, limit
        self.held = 0
        """Bytes of all strings and arrays in memory."""
        self.position = 0
        self.last_count = 0
        """Number of bytes of the last read."""

    def hold(self, count: int) -> None:
        """Count memory that is in use, or released if `count` is negative."""
        self.held += count
        if not 0 <= self.held <= self.limit:
            raise UnsupportedPickle(
                f"needs more than {self.limit // MIB} MiB at once, which no released file does"
            )

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, read in pieces: a wrong length in the file costs no memory."""
        if count > _MAX_NUMBER_BYTES:
            self.hold(count)
        pieces, remaining = [], count
        while remaining:
            piece = self.file.read(min(remaining, 8 * MIB))
            if not piece:
                raise UnsupportedPickle("is truncated")
            pieces.append(piece)
            remaining -= len(piece)
        self.position += count
        self.last_count = count
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self) -> bytes:
        """A line with a name."""
        line = self.file.readline(_MAX_NAME_BYTES)
        if not line.endswith(b"\n"):
            raise UnsupportedPickle("is damaged: a name without an end")
        self.position += len(line)
        return line
