"""Reading the arrays of released feature files one by one, from pickled dicts and HDF5 files, possibly in archives."""

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

CHUNK_BYTES = 8 * 2**20

_UNPACKED = re.compile(r"\.unpacked-[0-9a-f]{8}-[0-9]+\.h5", re.ASCII)
Arrays = Iterator[tuple[str, np.ndarray | None]]


def read_arrays(
    member: Member, shape: tuple[int, ...], is_requested: Callable[[str], bool], scratch: Path
) -> Arrays:
    """Read the arrays of a feature file.

    Args:
        member: The file.
        shape: Shape of each array.
        is_requested: Whether the array of a clip id is needed.
        scratch: Folder into which an HDF5 file that is compressed in its archive is unpacked, for random access.

    Yields:
        Clip ids with float32 arrays of `shape`, in the order of the file; None for arrays that are not requested.

    Raises:
        InputError: The file is damaged or malicious, or has arrays of another shape or dtype.
    """
    arrays = (
        _h5_arrays(member, shape, is_requested, scratch) if member.is_h5 else _pickled(member, is_requested)
    )
    for clip_id, values in arrays:
        if values is not None:
            _check_shape_and_dtype(values, shape, f"{member.name}, clip {clip_id!r}")
        yield clip_id, values


def _check_shape_and_dtype(values: Any, shape: tuple[int, ...], where: str) -> None:
    """Raise InputError for an array or HDF5 dataset of another shape or dtype than released."""
    if tuple(values.shape) != shape or values.dtype != np.float32:
        raise InputError(
            f"{where} has shape {tuple(values.shape)} and type {values.dtype}; released are {shape} and "
            "float32. Give the released feature file"
        )


def check_archive(member: Member) -> None:
    """Read a whole file of an archive and verify its checksum; needs a few MiB of memory."""
    with _explained(member), member.open() as file, _bar(member, "checking") as bar:
        while chunk := file.read(CHUNK_BYTES):
            bar.update(len(chunk))


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
        file = _h5_source(member, scratch, stack)
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
    """The dataset of a clip; InputError for links and for data in other files."""
    import h5py

    where = f"{where}, clip {name!r:.60}"
    try:
        link = h5.get(name, getlink=True)
        dataset = h5[name] if isinstance(link, h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"{where} is a group or a link, not an array. Download the released file again")
        if dataset.external or dataset.is_virtual:
            raise InputError(
                f"{where} refers to data in another file, which is not allowed. Download the released file again"
            )
        _check_shape_and_dtype(dataset, shape, where)
        return dataset[()]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(where, error) from None


def _h5_source(member: Member, scratch: Path, stack: contextlib.ExitStack) -> Any:
    """What h5py can read: the file, its section of the archive, or an unpacked copy."""
    if member.info is None:
        return member.paths[0]
    if member.is_stored:
        return stack.enter_context(contextlib.closing(member.slice()))
    return _unpacked(member, scratch)


def _unpacked(member: Member, scratch: Path) -> Path:
    """The file unpacked into `scratch`, now or by an earlier run; its checksum is verified."""
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
            "space or choose another --out"
        )
    size = f"{member.size / 2**30:.1f} GiB"
    print(
        f"{member.name} is compressed in its archive: unpacking it into {scratch} ({size})", file=sys.stderr
    )
    with _explained(member), member.open() as file, _bar(member, "unpacking") as bar:
        write_atomically(target, lambda copy: _copy(file, copy, member.size, bar))
    return target


def _copy(source: BinaryIO, target: BinaryIO, size: int, bar: Progress) -> None:
    while chunk := source.read(CHUNK_BYTES):
        size -= len(chunk)
        if size < 0:
            raise EOFError("an entry is longer than stated in the index of the archive")
        target.write(chunk)
        bar.update(len(chunk))


def remove_unpacked(scratch: Path) -> None:
    """Remove unpacked files."""
    for path in scratch.glob(".unpacked-*.h5"):
        if _UNPACKED.fullmatch(path.name) and not path.is_dir():
            path.unlink()


@contextlib.contextmanager
def _explained(member: Member) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise unreadable(member.name, error) from None


def _bar(member: Member, what: str) -> Progress:
    return Progress(member.size, "B", title=f"{what} {Path(member.name).name}")
