"""Reading a feature store: clips in one order, their arrays by row.

Rows are ordered by clip id whatever the order in which clips were stored, so an extraction that was
interrupted, or done by several processes, reads like one that ran through. Shards are opened when first
needed. Small rows are copied from a memory map, which costs no system call; large ones are read by position, whole
stretches at a time and several at once: a disk is fastest so, and one core alone cannot copy as fast as memory is.

Shapes: n rows asked for, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import stat
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from avcil.encoders.constants import Constants
from avcil.encoders.parts import Part
from avcil.errors import InputError
from avcil.features.index import ShardEntry, StoredClip, read_index
from avcil.features.manifest import Manifest
from avcil.features.shards import Column, file_sha256, read_header, row_digest
from avcil.features.unlisted import read_unlisted

OPEN_SHARDS = 256
LARGE_READ = 32 << 20
"""Bytes that a thread reads at once: long stretches in one order are what the kernel reads ahead of."""
READERS = 4
LARGE_ROW = 1 << 20
"""Bytes of a clip from which a read by position costs no more than a copy from a map."""
NO_FILE = "a link or folder instead of a file"
AGAIN = (
    "Run the avcil extract command that made the store once more: what is there is kept, "
    "what is missing is made anew"
)


class _Shard:
    """An open shard; it closes with its last user, so another thread may drop it while it is being read."""

    def __init__(self, path: Path, arrays: dict[str, tuple[int, ...]], dtype: np.dtype, clips: int) -> None:
        self.path = path
        self.columns = read_header(path)
        for name, shape in arrays.items():
            column = self.columns.get(name)
            if column is None or (column.n, column.shape) != (clips, shape) or column.dtype != dtype:
                raise InputError(
                    f"the shard {path} does not hold {name} features {(clips, *shape)} {dtype}. {AGAIN}"
                )
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        mapped = mmap.mmap(self.descriptor, 0, prot=mmap.PROT_READ)
        self.rows = {name: _view(mapped, self.columns[name]) for name in arrays}

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read(self, name: str, first: int, into: memoryview) -> None:
        """Fill `into` with the bytes of consecutive rows from row `first` on."""
        column = self.columns[name]
        offset = column.offset + first * column.row_bytes
        while into:
            got = os.preadv(self.descriptor, [into], offset)
            if not got:
                raise InputError(f"the shard {self.path} became shorter while it was read. {AGAIN}")
            into, offset = into[got:], offset + got


def _view(mapped: mmap.mmap, column: Column) -> np.ndarray:
    count = column.n * math.prod(column.shape)
    return np.frombuffer(mapped, column.dtype, count, column.offset).reshape(column.n, *column.shape)


class FeatureStore:
    """The features of a set of clips, read from disk as they are asked for.

    A store is a snapshot of what was committed when it was opened. It can be pickled and read by many
    processes and threads at once.

    :param path: the store's folder.
    :raises InputError: if there is no store, it is of another version, or it is damaged or unfinished.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        entries = list(read_index(self.path)[0].values())
        self.shards = [(entry.shard, entry.bytes, entry.sha256) for entry in entries]
        """File name, size and SHA-256 of each shard."""
        if not entries:
            raise InputError(
                f"the feature store {self.path} holds no clip yet: nothing was committed. {AGAIN}"
            )
        self._check_files()
        self.unlisted = read_unlisted(self.path)
        """Ids of clips that are stored but not in use: the last clip list did not name them."""
        self._shard_rows = [len(entry.clips) for entry in entries]
        """Rows of each shard; clips that were removed, or are not in use, keep theirs."""
        self._order(entries)
        self._open = self._opener()

    def _check_files(self) -> None:
        checked = [(name, shard_damage(self.path, name, size)) for name, size, _ in self.shards]
        bad = [f"{name} ({what})" for name, what in checked if what]
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise InputError(f"the feature store {self.path} is damaged: {', '.join(bad[:3])}{more}. {AGAIN}")

    def _order(self, entries: Sequence[ShardEntry]) -> None:
        rows = [
            (clip, digest, shard, row)
            for shard, entry in enumerate(entries)
            for row, clip, digest in entry.held()
        ]
        rows = [row for row in rows if row[0].clip_id not in self.unlisted]
        if not rows:
            raise InputError(
                f"the feature store {self.path} holds no clip of the last clip list. Run avcil extract with the list "
                "that is to be used"
            )
        rows.sort(key=lambda item: item[0].clip_id)
        twice = [key for key, count in Counter(clip.clip_id for clip, *_ in rows).items() if count > 1]
        if twice:
            shown = ", ".join(map(repr, twice[:5]))
            raise InputError(
                f"the feature store {self.path} holds {len(twice)} clip(s) twice: {shown}. Its index was "
                "changed from "
                "outside; extract into a new folder"
            )
        self.clips: list[StoredClip] = [clip for clip, *_ in rows]
        self._digests = [digest for _, digest, *_ in rows]
        self._shard_of = np.array([shard for *_, shard, _ in rows], dtype=np.int64)
        self._row_in_shard = np.array([row for *_, row in rows], dtype=np.int64)

    def _opener(self) -> Any:
        folder = self.path / "shards"
        files = [
            (folder / name, rows) for (name, *_), rows in zip(self.shards, self._shard_rows, strict=True)
        ]
        return lru_cache(maxsize=OPEN_SHARDS)(partial(_open_shard, files, self.manifest))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open = self._opener()

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the clips held, sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    @property
    def visual_shape(self) -> tuple[int, int, int] | None:
        """(T, S, D) of a clip's visual tokens; None if the store holds none."""
        return self.manifest.arrays().get("visual")  # type: ignore[return-value]

    @property
    def audio_width(self) -> int | None:
        """D of a clip's audio vector; None if the store holds none."""
        shape = self.manifest.arrays().get("audio")
        return None if shape is None else shape[0]

    def parts(self, modality: str) -> tuple[Part, ...]:
        """The encoders that the features of "audio" or "visual" come from; none if the store holds none."""
        found = getattr(self.manifest, modality)
        return () if found is None else found.parts

    def constants(self, modality: str) -> Constants | None:
        """Typical center and scale of the features of "audio" or "visual"; None where they are unknown."""
        found = getattr(self.manifest, modality)
        return None if found is None else found.constants

    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Visual tokens (n, T, S, D) of `rows` (indices into `clips`, in any order), in the stored dtype."""
        return self._read("visual", rows)

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Audio vectors (n, D) of `rows` (indices into `clips`, in any order), in the stored dtype."""
        return self._read("audio", rows)

    def presence(self, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Which clips have "visual" and "audio" features: bool (n,) each.

        The arrays of a modality that a clip lacks are filled with zeros, which are no features.
        """
        clips = [self.clips[row] for row in np.asarray(rows, dtype=np.int64)]
        return {name: np.array([getattr(clip, name) for clip in clips], bool) for name in ("visual", "audio")}

    def audio_tokens(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Audio tokens (n, N, D) of `rows`, in the stored dtype, if the store was made with them."""
        return self._read("audio_tokens", rows)

    def _read(self, name: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        shape = self.manifest.arrays().get(name)
        if shape is None:
            if name == "audio_tokens":
                raise InputError(
                    f"the feature store {self.path} holds no audio tokens; extract into a new one with "
                    "--audio-tokens"
                )
            other = next(iter(self.manifest.arrays()))
            raise InputError(
                f"the feature store {self.path} holds no {name} features, only {other}; use --modality "
                f"{other}"
            )
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows must lie between 0 and {len(self) - 1}, got {rows.min()} to {rows.max()}")
        if rows.size:
            self._open(int(self._shard_of[rows[0]]))  # a shape that no shard has must not be allocated
        out = np.empty((len(rows), *shape), dtype=self.manifest.dtype)
        fill = self._read_large if out[:1].nbytes >= LARGE_ROW else self._copy_small
        fill(name, self._shard_of[rows], self._row_in_shard[rows], out)
        return out

    def _copy_small(self, name: str, shards: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        for begin in range(0, len(out), OPEN_SHARDS):  # a stretch of rows holds no more shards than that open
            here = shards[begin : begin + OPEN_SHARDS].tolist()
            arrays = {shard: self._open(shard).rows[name] for shard in set(here)}
            there = places[begin : begin + OPEN_SHARDS].tolist()
            for row, (shard, place) in enumerate(zip(here, there, strict=True), begin):
                out[row] = arrays[shard][place]

    def _read_large(self, name: str, shards: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        data, width = out.reshape(-1).view(np.uint8).data, out[:1].nbytes

        def read(stretch: tuple[int, int]) -> None:
            begin, end = stretch
            shard = self._open(int(shards[begin]))
            shard.read(name, int(places[begin]), data[begin * width : end * width])

        stretches = _runs(shards, places, most=max(1, LARGE_READ // width))
        if len(stretches) == 1:
            read(stretches[0])
        else:
            list(_threads(os.getpid()).map(read, stretches))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what the store holds: encoders, sampling, and every clip's label, split and numbers.

        It does not depend on how clips are spread over shards, nor on where the files lay.
        """
        digest = hashlib.sha256(json.dumps(self.manifest.identity(), sort_keys=True).encode())
        for clip, numbers in zip(self.clips, self._digests, strict=True):
            value = [clip.clip_id, clip.label, clip.split, clip.visual, clip.audio, numbers]
            digest.update(json.dumps(value).encode())
        return digest.hexdigest()

    def verify(self) -> None:
        """Read everything and compare it with the index's hashes; raise `InputError` naming what differs."""
        wrong = {
            k
            for k, (name, _, sha) in enumerate(self.shards)
            if file_sha256(self.path / "shards" / name) != sha
        }
        if not wrong:
            return
        names = ", ".join(self.shards[k][0] for k in sorted(wrong))
        rows = [
            row
            for row in np.flatnonzero(np.isin(self._shard_of, list(wrong)))
            if not self._is_intact(int(row))
        ]
        clips = ", ".join(repr(self.clips[row].clip_id) for row in rows[:5]) + (
            ", ..." if len(rows) > 5 else ""
        )
        raise InputError(
            f"the feature store {self.path} is damaged: the content of {names} changed after it was written; "
            f"{len(rows)} clip(s) differ: {clips}. Delete the named shard files and run the extract "
            "command again"
        )

    def _is_intact(self, row: int) -> bool:
        try:
            arrays = [self._read(name, [row])[0] for name in self.manifest.arrays()]
        except InputError:
            return False
        return row_digest(arrays) == self._digests[row]


def shard_damage(folder: Path, shard: str, size: int) -> str | None:
    """What is wrong with a committed shard's file at a glance: it is missing, a link, or not as long as it was."""
    try:
        found = (Path(folder) / "shards" / shard).lstat()
    except FileNotFoundError:
        return "missing"
    if not stat.S_ISREG(found.st_mode):
        return NO_FILE
    return None if found.st_size == size else f"{found.st_size} bytes instead of {size}"


def _open_shard(files: Sequence[tuple[Path, int]], manifest: Manifest, number: int) -> _Shard:
    path, clips = files[number]
    return _Shard(path, manifest.arrays(), np.dtype(manifest.dtype), clips)


def _runs(shards: np.ndarray, places: np.ndarray, *, most: int) -> list[tuple[int, int]]:
    """Stretches of `most` consecutive rows of one shard at most, as (begin, end) into the request: each is one read."""
    if not len(shards):
        return []
    breaks = np.flatnonzero((np.diff(shards) != 0) | (np.diff(places) != 1)) + 1
    runs = pairwise([0, *breaks.tolist(), len(shards)])
    return [(at, min(at + most, end)) for begin, end in runs for at in range(begin, end, most)]


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Threads that read, of a process."""
    return ThreadPoolExecutor(READERS, thread_name_prefix=f"store-{process}")
