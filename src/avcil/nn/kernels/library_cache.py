"""A cache of compiled libraries that other users cannot modify.

A loaded library has all rights of the user. So the cache folder, its parent folders and the file must belong to this
user (or root) and must not be writable by others. Otherwise, each process compiles the library into a temporary folder,
loads it and removes it.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def load(folder: Path, name: str, build: Callable[[Path], object]) -> ctypes.CDLL:
    """Load a library from the cache; build it first if the cache does not have it.

    Args:
        folder: The cache folder, which is created if it does not exist.
        name: File name of the library, which must depend on source, compiler and processor.
        build: Writes the library to a path.

    Raises:
        OSError: The library cannot be loaded.
    """
    reason = _prepare(folder)
    if reason:
        print(f"avcil: {reason}; the attention kernel is compiled for this process only", file=sys.stderr)
        return _private(name, build)
    path = folder / name
    if _is_ours(path):
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # damaged: it is built again
            pass
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch) / name
        build(built)
        built.chmod(0o600)
        os.replace(built, path)
    return ctypes.CDLL(str(path))


def _private(name: str, build: Callable[[Path], object]) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="avcil-") as scratch:  # mode 0700; the mapping outlives the file
        build(Path(scratch) / name)
        return ctypes.CDLL(str(Path(scratch) / name))


def _prepare(folder: Path) -> str:
    """Create the folder; returns why it cannot be used, or an empty text."""
    try:
        _make_private(folder)
        folder = folder.resolve(strict=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the cache folder {folder} cannot be written to"
        return _changeable_by_others(folder)
    except OSError as error:
        return f"the cache folder {folder} cannot be used ({error.strerror})"


def _make_private(folder: Path) -> None:
    """Create the folder and its parents with mode 0700; `mkdir(parents=True)` sets the mode of the last one only."""
    for ancestor in (*reversed(folder.parents), folder):
        if not ancestor.exists():
            ancestor.mkdir(mode=0o700, exist_ok=True)


def _changeable_by_others(folder: Path) -> str:
    """A message about a folder, or one of its parents, that other users can change; empty if there is none.

    In a folder with the sticky bit, such as /tmp, others can add entries, but not replace those of this user.
    """
    for ancestor in (folder, *folder.parents):
        status = ancestor.lstat()
        sticky = ancestor != folder and status.st_mode & stat.S_ISVTX
        if status.st_uid not in (os.geteuid(), 0) or (status.st_mode & _OTHERS and not sticky):
            return f"other users can change {ancestor} (chmod go-w {ancestor} prevents it, if it is yours)"
    return ""


def _is_ours(path: Path) -> bool:
    """Whether a library is a regular file that only this user or root can write."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    owned = status.st_uid in (os.geteuid(), 0)
    return stat.S_ISREG(status.st_mode) and owned and not status.st_mode & _OTHERS
