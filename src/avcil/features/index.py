"""The index of a feature store, `index.jsonl`: one line for each committed shard.

An incomplete last line, without a newline, is ignored. Lines are never changed. A lost shard is dropped by a later line
`{"shard": NAME, "dropped": true}`; single clips of a shard are removed by `{"shard": NAME, "removed": [clip id, ...]}`.
These clips can be stored again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.features.index_lines import ShardEntry, check_dropped, check_removed, parse_line
from avcil.features.store_folder import INDEX_NAME, check_no_links
from avcil.utils.files import disk_error, sync_folder
from avcil.utils.input_files import open_regular

_MAX_LINE_BYTES = 16 << 20


def read_index(folder: Path, start: int = 0) -> tuple[dict[str, ShardEntry], int]:
    """Read the index from byte `start`.

    Returns:
        The committed shards by file name, and the end of the index in bytes. A missing index is empty.
    """
    path = Path(folder) / INDEX_NAME
    check_no_links(folder)
    entries: dict[str, ShardEntry] = {}
    if not path.exists():
        return entries, 0
    end = start
    with open_regular(path, follow=False) as file:
        file.seek(start)
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
            if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
                break
            try:
                _apply(parse_line(line[:-1]), entries)
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number} is damaged ({error}). Delete that line and run the avcil extract "
                    "command that made the store again, which encodes the clips of this shard again"
                ) from None
            end += len(line)
    return entries, end


def _apply(value: dict[str, Any], entries: dict[str, ShardEntry]) -> None:
    if "dropped" in value:
        check_dropped(value)
        entries.pop(value["shard"], None)
        return
    if "removed" in value:
        check_removed(value)
        _remove(entries, value["shard"], value["removed"])
        return
    entry = ShardEntry.of(value)
    if entry.shard in entries:
        raise ValueError(f"the shard {entry.shard} is listed twice")
    entries[entry.shard] = entry


def _remove(entries: dict[str, ShardEntry], shard: str, clip_ids: Sequence[str]) -> None:
    """Remove clips from a shard, and the shard from the index if it has no clips left."""
    entry = entries.get(shard)
    if entry is None:  # in an earlier part of the index, which was read before
        return
    entry = replace(entry, removed=entry.removed | set(clip_ids))
    if any(entry.rows()):
        entries[shard] = entry
    else:
        del entries[shard]


@contextlib.contextmanager
def locked_index(folder: Path) -> Iterator[int]:
    """Open the index for appending under a lock; an incomplete last line is removed first."""
    path = Path(folder) / INDEX_NAME
    check_no_links(folder)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _remove_incomplete_line(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_incomplete_line(descriptor: int) -> None:
    end = size = os.fstat(descriptor).st_size
    while end > 0:
        begin = max(0, end - 65536)
        newline = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            end = begin + newline + 1
            break
        end = begin
    if end < size:
        os.ftruncate(descriptor, end)


def append_lines(descriptor: int, lines: Sequence[bytes], folder: Path) -> None:
    """Append lines and flush them to the disk; on an error, the index is restored."""
    size = os.fstat(descriptor).st_size
    data = memoryview(b"".join(lines))
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
        sync_folder(folder)
    except OSError as error:
        os.ftruncate(descriptor, size)
        raise disk_error(error, Path(folder) / INDEX_NAME) from error
