"""What identifies the content of a clip's file: size, time of the last change, and a hash of small files.

A store keeps it with each clip, so that a file that was replaced under its old name is noticed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

HASHED = 32 << 20
"""Files of up to so many bytes are hashed. Reading larger ones again would take long; their size and time decide."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file as it was when its clip was read."""

    bytes: int
    mtime_ns: int
    sha256: str | None = None
    """None for a file larger than `HASHED`."""


def source_of(path: str | Path) -> SourceFile | None:
    """The file as it is now; None where there is no regular file that can be read."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        digest = None
        if status.st_size <= HASHED:
            digest = _sha256(os.fspath(path), status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None
    return SourceFile(bytes=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """Once for the many clips that one file may have; size and time are part of the key."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def change_of(stored: SourceFile, path: str | Path) -> str:
    """Whether the file at `path` still is what was stored.

    Returns:
        "" if it is, "missing" if there is no file, "changed" if its content is another one. A file of the same size
        and time is not read. One with another time is compared by its hash; without a hash it counts as changed.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return "missing"
    if status.st_size != stored.bytes:
        return "changed"
    if status.st_mtime_ns == stored.mtime_ns:
        return ""
    now = source_of(path)
    if now is None:
        return "missing"
    return "" if stored.sha256 is not None and now.sha256 == stored.sha256 else "changed"
