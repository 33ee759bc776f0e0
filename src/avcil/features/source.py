"""Size, modification time and, for small files, hash of the media file of a clip.

A store records them for each clip, so that a replaced file is detected.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from avcil.utils.files import file_sha256

MAX_HASHED = 32 << 20
"""Maximum size of files that are hashed; for larger ones, size and modification time are compared."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """The state of a file when its clip was read."""

    bytes: int
    mtime_ns: int
    sha256: str | None = None
    """None for a file larger than `MAX_HASHED`."""


def source_of(path: str | Path) -> SourceFile | None:
    """The current state of a file; None if it is not a readable regular file."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        digest = None
        if status.st_size <= MAX_HASHED:
            digest = _sha256(os.fspath(path), status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None
    return SourceFile(bytes=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """Cached, since many clips can be segments of one file; size and time are part of the key."""
    return file_sha256(path)


def change_of(stored: SourceFile, path: str | Path) -> str:
    """Whether the file at `path` has changed.

    Returns:
        "" if it is the same, "missing" or "changed". A file with the same size and modification time is not read. If
        only the time differs, the hash is compared; without a stored hash, the file counts as changed.
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
