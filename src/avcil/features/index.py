"""The index of a feature store, `index.jsonl`: one line a committed shard, appended last.

A line is whole once it ends in a newline; what follows the last newline was cut off while being written and
counts for nothing. Lines are never changed: a shard that was lost is dropped by a later line
`{"shard": NAME, "dropped": true}`, and its clips can be stored again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.files import disk_error, sync_folder

NAME = "index.jsonl"


@dataclass(frozen=True, kw_only=True)
class StoredClip:
    """A clip that a store holds; `visual` and `audio` are False where zeros stand in for what was missing."""

    clip_id: str
    label: str
    split: str
    path: str
    start: float | None
    end: float | None
    visual: bool
    audio: bool
    remark: str = ""
    """What was wrong with the file although the clip could be stored; empty if nothing was."""


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A committed shard: its file, size and hash, its clips and their digests in row order."""

    shard: str
    bytes: int
    sha256: str
    clips: tuple[StoredClip, ...]
    digests: tuple[str, ...]

    def to_line(self) -> bytes:
        """One line of the index."""
        clips = [
            _without_empty_remark(asdict(clip)) | {"digest": digest}
            for clip, digest in zip(self.clips, self.digests, strict=True)
        ]
        value = {"shard": self.shard, "bytes": self.bytes, "sha256": self.sha256, "clips": clips}
        return json.dumps(value, allow_nan=False).encode() + b"\n"

    @classmethod
    def of(cls, value: dict[str, Any]) -> ShardEntry:
        """The entry of one parsed line."""
        digests = tuple(clip.pop("digest") for clip in value["clips"])
        clips = tuple(StoredClip(**clip) for clip in value["clips"])
        return cls(
            shard=value["shard"], bytes=value["bytes"], sha256=value["sha256"], clips=clips, digests=digests
        )


def _without_empty_remark(clip: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in clip.items() if name != "remark" or value}


def drop_line(shard: str) -> bytes:
    """A line that takes a lost shard out of the index."""
    return json.dumps({"shard": shard, "dropped": True}).encode() + b"\n"


def read_index(folder: Path, start: int = 0) -> tuple[dict[str, ShardEntry], int]:
    """The shards committed from byte `start` of the index on, by file name, and where the index ends.

    No index is an empty one.
    """
    path = Path(folder) / NAME
    entries: dict[str, ShardEntry] = {}
    if not path.exists():
        return entries, 0
    with open(path, "rb") as file:
        file.seek(start)
        whole, newline, _torn = file.read().rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if newline else [], 1):
        try:
            value = json.loads(line)
            if value.get("dropped"):
                entries.pop(value["shard"], None)
            else:
                entries[value["shard"]] = ShardEntry.of(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number} is damaged ({type(error).__name__}: {error}). Delete that line "
                "and run the "
                "avcil extract command that made the store again: the clips of this shard are then made anew"
            ) from None
    return entries, start + len(whole) + len(newline)


@contextlib.contextmanager
def locked_index(folder: Path) -> Iterator[int]:
    """The index, opened to append and held by this process alone; a torn last line is cut off first."""
    path = Path(folder) / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _cut_torn_line(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _cut_torn_line(descriptor: int) -> None:
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
    """Append whole lines and flush them to the disk; on a full disk the index is as before."""
    size = os.fstat(descriptor).st_size
    data = memoryview(b"".join(lines))
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
        sync_folder(folder)
    except OSError as error:
        os.ftruncate(descriptor, size)
        raise disk_error(error, Path(folder) / NAME) from error
