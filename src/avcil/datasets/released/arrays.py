"""Reads the arrays of released feature files one at a time: pickled dicts and HDF5 files, possibly in archives."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from avcil.datasets.released.feature_files import Member, unreadable
from avcil.datasets.released.restricted_pickle import stream_arrays
from avcil.errors import InputError
from avcil.utils.files import write_atomically
from avcil.utils.progress import Progress

PIECE = 8 * 2**20

UNPACKED = re.compile(r"\.unpacked-[0-9a-f]{8}-[0-9]+\.h5", re.ASCII)
Arrays = Iterator[tuple[str, np.ndarray | None]]


def read_arrays(
    member: Member, shape: tuple[int, ...], is_requested: Callable[[str], bool], scratch: Path
) -> Arrays:
    """The arrays of a feature file in its own order: (clip id, float32 of `shape`), or None if not requested.

    `scratch` is a folder where an HDF5 file that is compressed in its archive is unpacked, as HDF5 needs to
    jump about in it. Raises `InputError` for a file that is damaged, hostile, or holds arrays of another
    form.
    """
    arrays = (
        _h5_arrays(member, shape, is_requested, scratch) if member.is_h5 else _pickled(member, is_requested)
    )
    for clip_id, values in arrays:
        if values is not None:
            _check_form(values, shape, f"{member.name}, clip {clip_id!r}")
        yield clip_id, values


def _check_form(values: Any, shape: tuple[int, ...], where: str) -> None:
    """Refuse an array (or HDF5 dataset) of another shape or type than released."""
    if tuple(values.shape) != shape or values.dtype != np.float32:
        raise InputError(
            f"{where} has shape {tuple(values.shape)} and type {values.dtype}; released are {shape} and "
            "float32. Is this another feature file?"
        )


def check_archive(member: Member) -> None:
    """Read a whole file of an archive and verify its checksum; needs a few MiB of memory."""
    with _explained(member), member.open() as file, _bar(member, "checking") as bar:
        while piece := file.read(PIECE):
            bar.update(len(piece))


def _pickled(member: Member, is_requested: Callable[[str], bool]) -> Arrays:
    with _explained(member), member.open() as file:
        for clip_id, values in stream_arrays(file, member.name):
            yield clip_id, values if is_requested(clip_id) else None


def _h5_arrays(
    member: Member, shape: tuple[int, ...], is_requested: Callable[[str], bool], scratch: Path
) -> Arrays:
    try:
        import h5py
    except ImportError:
        raise InputError(f"reading {member.name} needs h5py: pip install 'avcil[import]'") from None
    with contextlib.ExitStack() as stack:
        file = _random_access(member, scratch, stack)
        try:
            h5 = stack.enter_context(h5py.File(file, "r"))
            names = list(h5)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise unreadable(member.name, error) from None
        for name in names:
            if not isinstance(name, str):
                raise unreadable(member.name, f"the clip id {name!r:.60} is not UTF-8")
            yield name, _dataset(h5, name, shape, member.name) if is_requested(name) else None


def _dataset(h5: Any, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The dataset of one clip; links, and data that lies in other files, are refused."""
    import h5py

    where = f"{where}, clip {name!r:.60}"
    try:
        link = h5.get(name, getlink=True)
        dataset = h5[name] if isinstance(link, h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"{where} is a group or a link, not an array. Get the released file again")
        if dataset.external or dataset.is_virtual:
            raise InputError(
                f"{where} refers to data in another file, which is not allowed. Get the released file again"
            )
        _check_form(dataset, shape, where)
        return dataset[()]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(where, error) from None


def _random_access(member: Member, scratch: Path, stack: contextlib.ExitStack) -> Any:
    """What h5py can read `member` from: the file, the stretch of the archive where it lies, or an unpacked
    copy.
    """
    if member.info is None:
        return member.paths[0]
    if member.is_stored:
        return stack.enter_context(contextlib.closing(member.window()))
    return _unpacked(member, scratch)


def _unpacked(member: Member, scratch: Path) -> Path:
    """The file unpacked into `scratch`, or as an earlier run left it there; its checksum is compared on the
    way.
    """
    assert member.info is not None
    target = scratch / f".unpacked-{member.info.CRC:08x}-{member.size}.h5"
    if target.is_file() and not target.is_symlink():
        return target
    scratch.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(scratch).free
    if member.size > free:
        raise InputError(
            f"{member.name} is compressed in its archive and must be unpacked: that takes "
            f"{member.size / 2**30:.1f} GiB in {scratch}, and {free / 2**30:.1f} GiB are free. Free some "
            "room or choose another --out"
        )
    size = f"{member.size / 2**30:.1f} GiB"
    print(
        f"{member.name} is compressed in its archive: unpacking it into {scratch} ({size})", file=sys.stderr
    )
    with _explained(member), member.open() as file, _bar(member, "unpacking") as bar:
        write_atomically(target, lambda copy: _copy(file, copy, member.size, bar))
    return target


def _copy(source: BinaryIO, target: BinaryIO, size: int, bar: Progress) -> None:
    while piece := source.read(PIECE):
        size -= len(piece)
        if size < 0:
            raise EOFError("an entry is longer than the archive's list says")
        target.write(piece)
        bar.update(len(piece))


def remove_unpacked(scratch: Path) -> None:
    """Remove unpacked files."""
    for path in scratch.glob(".unpacked-*.h5"):
        if UNPACKED.fullmatch(path.name) and not path.is_dir():
            path.unlink()


@contextlib.contextmanager
def _explained(member: Member) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise unreadable(member.name, error) from None


def _bar(member: Member, what: str) -> Progress:
    return Progress(member.size, "B", title=f"{what} {Path(member.name).name}")
