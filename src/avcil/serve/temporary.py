"""The temporary folder of a server, which is removed when it stops, or at the next start after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from avcil.utils.files import disk_error

PREFIX = "avcil-serve-"


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A new folder for all temporary files of this process; `tempfile` uses it too.

    Folders of killed servers are removed first: those that this user owns and no process has locked.

    Raises:
        StorageError: The disk is full or cannot be written to.
    """
    base = Path(tempfile.gettempdir())
    _remove_stale(base)
    before = tempfile.tempdir
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=base)
        lock = os.open(Path(folder) / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise disk_error(error, base) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tempfile.tempdir = folder
        yield folder
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_stale(base: Path) -> None:
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # of a running server, or another user's
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / ".lock", os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
