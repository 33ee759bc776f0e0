"""Writing files so that a reader sees the old content or the new, never a part.

Every file is written beside its destination, flushed to the disk, and renamed into place. A full disk leaves
the old file as it was, removes the part written, and says how much room was asked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk or quota that is full, and of a file that may not grow."""
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Error numbers of a file or folder that may not be written to."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a binary file that replaces `path` once it is whole and on the disk."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    _refuse_special(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_parts(path.parent)
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


def _refuse_special(path: Path) -> None:
    """Refuse a device, pipe or socket: renaming a file into its place would remove it."""
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing there yet; whatever else is wrong, writing will say so
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(
            f"{path} is a device, pipe or socket, and writing would replace it with a file. Give another path"
        )


@contextlib.contextmanager
def _locked(temporary: Path) -> Iterator[BinaryIO]:
    """A new file that is locked while it is written, so that it is not taken for one of a process that has died."""
    while True:
        with open(temporary, "wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks; nothing is removed there
                fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_nlink:  # removed as stale between `open` and `flock`
                continue
            yield file
            return


STALE_PART = re.compile(r"\..+\.\d+\.part", re.DOTALL)
"""Names that `write_atomically` gives to its temporary files."""
_cleaned: set[Path] = set()


def remove_stale_parts(folder: Path) -> None:
    """Remove the temporary files of `write_atomically` in `folder` whose processes were killed.

    Only regular files under names that it creates, and that no process holds locked. Each folder is looked through
    once in the life of this process.
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
    except OSError:  # whatever is wrong with it, writing into it will say so
        return []


def _remove_unlocked(path: str) -> None:
    with contextlib.suppress(OSError):  # locked, removed by another process, or not ours to remove
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(descriptor)


def is_storage_error(error: BaseException) -> bool:
    """Whether a disk is full, over its quota, or cannot be written to."""
    return isinstance(error, StorageError) or (
        isinstance(error, OSError) and error.errno in (*FULL, *REFUSED)
    )


def disk_error(error: OSError, path: Path) -> Exception:
    """The error to raise for an `OSError` met while writing `path`: a full or read-only disk in words."""
    if error.errno in FULL:
        folder = next((p for p in Path(path).absolute().parents if p.exists()), Path("/"))
        free = shutil.disk_usage(folder).free / 2**20
        return StorageError(
            f"no room left on the disk while writing {path} ({free:.0f} MiB free). What was finished "
            "before is kept: "
            "free some room, or choose another --out, and run the same command again"
        )
    if error.errno in REFUSED:
        return StorageError(f"cannot write {path}: {error.strerror}. Choose an --out that you may write to")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return InputError(
            f"cannot write {path}: a file stands where a folder should be. Choose another --out"
        )
    return error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file as strictly as `input_files.parse_json` does.

    Raises:
        InputError: If it is missing, not a regular file, too large, or not JSON; the message names the file.
    """
    return parse_json(read_bytes(path, limit=JSON_BYTES), str(path))


def replace_folder(folder: Path, part: Path, write: Callable[[], object]) -> None:
    """Let `write` fill the new folder `part`, beside `folder`, then put it in `folder`'s place.

    The two are exchanged in one step where the system can; else the old one stands aside for a moment, under a name
    by which `settle_folder` finds it after a kill.
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


def settle_folder(folder: Path) -> None:
    """Put back what `replace_folder` had set aside when it was killed."""
    if not folder.exists() and _aside(folder).is_dir():
        os.rename(_aside(folder), folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once (Linux renameat2); False where the system or file system cannot."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None:
        return False
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange(here, os.fsencode(one), here, os.fsencode(other), both) == 0


@contextlib.contextmanager
def folder_lock(folder: Path, purpose: str) -> Iterator[None]:
    """Hold `folder` for one process; a second one is told so at once. The lock goes with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a+b")  # noqa: SIM115
    except OSError as error:
        raise disk_error(error, folder) from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is {purpose} in {folder}. Wait for it to end, or choose another --out"
            ) from None
        yield


def without_path(error: Exception, path: Path) -> str:
    """An error's message without the file's path, for lists that name the file beside it.

    >>> without_path(InputError("clips/a.mp4 is empty (0 bytes)"), Path("clips/a.mp4"))
    'is empty (0 bytes)'
    """
    text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ").removesuffix(f" {path}")
    return text.replace(str(path), "the file")
