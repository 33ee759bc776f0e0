"""Reading rows of shards.

Shards are opened when they are needed. Small rows are copied from a memory map, without system calls. Large rows are
read with pread, consecutive rows together and in several threads, which is fastest for disks and for the page cache.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from avcil.errors import InputError
from avcil.features.shards import Column, check_columns, read_header

OPEN_SHARDS = 256
"""Maximum number of open shards."""
_MAX_READ_BYTES = 32 << 20
"""Maximum bytes per read; the kernel reads ahead of long sequential reads."""
_READER_THREADS = 4
LARGE_ROW_BYTES = 1 << 20
"""Bytes per clip from which pread is not slower than copying from a memory map."""
RERUN = "Run the avcil extract command that made the store again: it encodes only what is missing"


class ShardReader:
    """Reads arrays by shard number and row. It can be pickled, and used by many threads.

    Args:
        files: Path and number of clips of each shard.
        arrays: Shapes of the arrays of a clip, by name.
        dtype: The dtype of all arrays.
    """

    def __init__(
        self, files: Sequence[tuple[Path, int]], arrays: Mapping[str, tuple[int, ...]], dtype: np.dtype
    ) -> None:
        self._files, self._arrays, self._dtype = files, arrays, dtype
        self._open = self._cached_open()

    def _cached_open(self) -> Callable[[int], _OpenShard]:
        return lru_cache(maxsize=OPEN_SHARDS)(
            lambda shard: _OpenShard(*self._files[shard], self._arrays, self._dtype)
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open = self._cached_open()

    def read(self, name: str, shards: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The array `name` of n clips, given by shard number and row in the shard: (n, ...).

        Raises:
            InputError: A shard is damaged.
        """
        if len(shards):
            self._open(int(shards[0]))  # checks the shape before the allocation
        out = np.empty((len(shards), *self._arrays[name]), self._dtype)
        read = self._read_large if out[:1].nbytes >= LARGE_ROW_BYTES else self._copy_small
        read(name, shards, rows, out)
        return out

    def _copy_small(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        for begin in range(0, len(out), OPEN_SHARDS):  # limits the number of open shards
            part_shards = shards[begin : begin + OPEN_SHARDS].tolist()
            part_rows = rows[begin : begin + OPEN_SHARDS].tolist()
            arrays = {shard: self._open(shard).arrays[name] for shard in set(part_shards)}
            for position, (shard, row) in enumerate(zip(part_shards, part_rows, strict=True), begin):
                out[position] = arrays[shard][row]

    def _read_large(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        data, row_bytes = out.reshape(-1).view(np.uint8).data, out[:1].nbytes

        def read(positions: tuple[int, int]) -> None:
            begin, end = positions
            shard = self._open(int(shards[begin]))
            shard.read(name, int(rows[begin]), data[begin * row_bytes : end * row_bytes])

        ranges = _row_ranges(shards, rows, max_rows=max(1, _MAX_READ_BYTES // row_bytes))
        if len(ranges) == 1:
            read(ranges[0])
        else:
            list(_threads(os.getpid()).map(read, ranges))


class _OpenShard:
    """An open shard; the file is closed when the last thread releases it."""

    def __init__(
        self, path: Path, clips: int, arrays: Mapping[str, tuple[int, ...]], dtype: np.dtype
    ) -> None:
        self.path = path
        self.columns = read_header(path)
        check_columns(self.columns, arrays, dtype, clips, f"the shard {path} is damaged: it")
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        mapped = mmap.mmap(self.descriptor, 0, prot=mmap.PROT_READ)
        self.arrays = {name: _view(mapped, self.columns[name]) for name in arrays}

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read(self, name: str, first: int, into: memoryview) -> None:
        """Fill `into` with consecutive rows, starting at row `first`."""
        column = self.columns[name]
        offset = column.offset + first * column.row_bytes
        while into:
            count = os.preadv(self.descriptor, [into], offset)
            if not count:
                raise InputError(f"the shard {self.path} became shorter while it was read. {RERUN}")
            into, offset = into[count:], offset + count


def _view(mapped: mmap.mmap, column: Column) -> np.ndarray:
    count = column.n * math.prod(column.shape)
    return np.frombuffer(mapped, column.dtype, count, column.offset).reshape(column.n, *column.shape)


def _row_ranges(shards: np.ndarray, rows: np.ndarray, *, max_rows: int) -> list[tuple[int, int]]:
    """Ranges (begin, end) of positions with at most `max_rows` consecutive rows of one shard, for one read each."""
    if not len(shards):
        return []
    breaks = np.flatnonzero((np.diff(shards) != 0) | (np.diff(rows) != 1)) + 1
    runs = pairwise([0, *breaks.tolist(), len(shards)])
    return [(at, min(at + max_rows, end)) for begin, end in runs for at in range(begin, end, max_rows)]


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """The reader threads of a process."""
    return ThreadPoolExecutor(_READER_THREADS, thread_name_prefix=f"store-{process}")
