"""Atomic writes, file locks and errors of the disk.

A file is written under a temporary name in its folder, flushed to the disk, and renamed. If the disk is full, the old
file remains, the temporary file is removed, and the error says how much space is free.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from avcil.errors import InputError, StorageError
from avcil.utils.input_files import JSON_BYTES, parse_json, read_bytes

_FULL = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "no space left in the disk quota",
    errno.EFBIG: "the file size limit (ulimit -f, or that of the file system) is reached",
}
"""Error numbers and their meaning: the disk or the quota is full, or the file must not grow."""
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Error numbers: no permission to write."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a binary file that replaces `path` once it is complete and flushed to the disk."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    _check_destination(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_parts(path.parent)
        with _locked(temporary) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(error, path) from error
        raise


def _check_destination(path: Path) -> None:
    """Reject a folder, and a device, pipe or socket, which the rename would remove."""
    try:
        mode = path.stat().st_mode
    except OSError:  # does not exist yet; any other problem is reported by the write
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder, but a file is to be written. Give the name of a file")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path} is a device, pipe or socket; writing would replace it by a file. Choose another path"
        )


@contextlib.contextmanager
def _locked(temporary: Path) -> Iterator[BinaryIO]:
    """A new file, locked while it is written so that other processes do not remove it as stale."""
    while True:
        with open(temporary, "wb") as file:
            with contextlib.suppress(
                OSError
            ):  # a file system without locks, where stale files are not removed
                fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_nlink:  # removed as stale between `open` and `flock`
                continue
            yield file
            return


STALE_PART = re.compile(r"\..+\.\d+\.part", re.DOTALL)
"""Names of the temporary files of `write_atomically`."""
_cleaned: set[Path] = set()


def _remove_stale_parts(folder: Path) -> None:
    """Remove the temporary files of `write_atomically` in `folder` that killed processes left.

    Removes only regular files with such names that no process has locked. A process scans each folder once.
    """
    folder = folder.absolute()
    if folder in _cleaned:
        return
    _cleaned.add(folder)
    for entry in _entries(folder):
        if STALE_PART.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            _remove_unlocked(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # any problem is reported by the write
        return []


def _remove_unlocked(path: str) -> None:
    with contextlib.suppress(OSError):  # locked, already removed, or no permission
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(descriptor)


def is_storage_error(error: BaseException) -> bool:
    """Whether the disk is full, over its quota, or not writable."""
    return isinstance(error, StorageError) or (
        isinstance(error, OSError) and error.errno in (*_FULL, *_REFUSED)
    )


def disk_error(error: OSError, path: Path) -> Exception:
    """The error to raise for an `OSError` while writing `path`; it explains a full or read-only disk."""
    if error.errno in _FULL:
        folder = next((p for p in Path(path).absolute().parents if p.exists()), Path("/"))
        free = shutil.disk_usage(folder).free / 2**20
        return StorageError(
            f"{_FULL[error.errno]} while writing {path} ({free:.0f} MiB free on the disk). Finished work is kept: "
            f"{'raise the limit' if error.errno == errno.EFBIG else 'free some space'}, or choose another --out, and "
            "run the same command again"
        )
    if error.errno in _REFUSED:
        return StorageError(f"cannot write {path}: {error.strerror}. Choose a writable --out")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return InputError(
            f"cannot write {path}: a file exists where a folder is needed. Choose another --out"
        )
    return error


def file_sha256(path: Path | str) -> str:
    """The SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder, so that a rename survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are rejected."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file as strictly as `input_files.parse_json` does.

    Raises:
        InputError: The file is missing, not a regular file, too large, or not JSON.
    """
    return parse_json(read_bytes(path, limit=JSON_BYTES), str(path))


def replace_folder(folder: Path, part: Path, write: Callable[[], object]) -> None:
    """Replace `folder` by a new folder.

    The two are exchanged atomically where the system supports it. Otherwise the old folder is renamed first; if the
    process is killed then, `restore_folder` undoes that.

    Args:
        folder: The folder to replace.
        part: Temporary path of the new folder, in the same parent folder.
        write: Fills `part`.
    """
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        write()
        sync_folder(part)
        if not folder.exists():
            os.rename(part, folder)
        elif not _exchange(part, folder):
            aside = _aside(folder)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(folder, aside)
            os.rename(part, folder)
            shutil.rmtree(aside)
        sync_folder(folder.parent)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def restore_folder(folder: Path) -> None:
    """Restore the old folder if `replace_folder` was killed between its renames."""
    if not folder.exists() and _aside(folder).is_dir():
        os.rename(_aside(folder), folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names atomically (Linux renameat2); False where that is not supported."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None:
        return False
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange(here, os.fsencode(one), here, os.fsencode(other), both) == 0


@contextlib.contextmanager
def folder_lock(folder: Path, purpose: str) -> Iterator[None]:
    """Lock `folder` for this process; InputError if another process has locked it. A lock ends with its process.

    If the folder is new, it is removed after an error before anything was written to it.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a+b")  # noqa: SIM115
    except OSError as error:
        raise disk_error(error, folder) from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # another process removed it between `open` and `flock`
                raise BlockingIOError
        except BlockingIOError:
            raise InputError(
                f"another process is {purpose} in {folder}. Wait for it to end, or choose another --out"
            ) from None
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is raised
                if is_new and [entry.name for entry in folder.iterdir()] == [".lock"]:
                    shutil.rmtree(folder)
            raise


def without_path(error: Exception, path: Path) -> str:
    """The message of an error without the path of the file, for lists that show the path separately.

    >>> without_path(InputError("clips/a.mp4 is empty (0 bytes)"), Path("clips/a.mp4"))
    'is empty (0 bytes)'
    """
    text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ").removesuffix(f" {path}")
    return text.replace(str(path), "the file")
