"""Lock files of the writers of a feature store, and removal of the files that killed writers left."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from pathlib import Path

from avcil.features.index_lines import SHARD_NAME
from avcil.utils.files import disk_error

LOCK_NAME = re.compile(r"\.([0-9a-f]{12})\.lock", re.ASCII)
_PART_NAME = re.compile(rf"\.?{SHARD_NAME.pattern}(?:\.[0-9]+\.part)?", re.ASCII)
"""A shard, or a temporary file of one."""


class WriterLock:
    """A random name for a writer, and a lock file that is held until `release`.

    Create it while the index is locked, so that no other writer removes the file.
    """

    def __init__(self, shards: Path) -> None:
        self.name = secrets.token_hex(6)
        self._path = shards / f".{self.name}.lock"
        try:
            self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise disk_error(error, self._path) from error
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Remove the lock file."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def remove_leftovers(shards: Path, committed: set[str]) -> None:
    """Remove uncommitted shards of writers that have ended. Call it while the index is locked.

    Only files with the names of shards and lock files are removed.
    """
    names = sorted(entry.name for entry in os.scandir(shards) if not entry.is_dir(follow_symlinks=False))
    locks = [match for name in names if (match := LOCK_NAME.fullmatch(name))]
    active = {lock[1] for lock in locks if _is_held(shards / lock[0])}
    for name in names:
        match = _PART_NAME.fullmatch(name) or LOCK_NAME.fullmatch(name)
        if match and match[1] not in active and name not in committed:
            (shards / name).unlink(missing_ok=True)


def _is_held(lock: Path) -> bool:
    """Whether the writer of a lock file is alive; assumed if the file cannot be opened."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
