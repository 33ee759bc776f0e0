"""Reading a feature store: a list of clips, and their arrays by row.

Rows are sorted by clip id, so the order does not depend on how the extraction was interrupted or distributed. Shards
are opened when they are needed. Small rows are copied from a memory map, without system calls. Large rows are read with
pread, consecutive rows together and in several threads, which is fastest for disks and for the page cache.

Shapes: n requested rows, T time slices, S spatial tokens per slice, D width.
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

from avcil.data.presence import Presence
from avcil.encoders.constants import Constants
from avcil.encoders.parts import EncoderPart
from avcil.errors import InputError
from avcil.features.index import ShardEntry, StoredClip, read_index
from avcil.features.manifest import Manifest
from avcil.features.shards import Column, check_columns, read_header, row_digest
from avcil.features.unlisted import read_unlisted
from avcil.utils.files import file_sha256

OPEN_SHARDS = 256
LARGE_READ = 32 << 20
"""Maximum bytes per read; the kernel reads ahead of long sequential reads."""
READERS = 4
LARGE_ROW = 1 << 20
"""Bytes per clip from which pread is not slower than copying from a memory map."""
NOT_A_FILE = "a link or folder instead of a file"
RERUN = "Run the avcil extract command that made the store again: it encodes only what is missing"


class _Shard:
    """An open shard; the file is closed when the last thread releases it."""

    def __init__(self, path: Path, arrays: dict[str, tuple[int, ...]], dtype: np.dtype, clips: int) -> None:
        self.path = path
        self.columns = read_header(path)
        check_columns(self.columns, arrays, dtype, clips, f"the shard {path} is damaged: it")
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        mapped = mmap.mmap(self.descriptor, 0, prot=mmap.PROT_READ)
        self.rows = {name: _view(mapped, self.columns[name]) for name in arrays}

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read(self, name: str, first: int, into: memoryview) -> None:
        """Fill `into` with consecutive rows, starting at row `first`."""
        column = self.columns[name]
        offset = column.offset + first * column.row_bytes
        while into:
            got = os.preadv(self.descriptor, [into], offset)
            if not got:
                raise InputError(f"the shard {self.path} became shorter while it was read. {RERUN}")
            into, offset = into[got:], offset + got


def _view(mapped: mmap.mmap, column: Column) -> np.ndarray:
    count = column.n * math.prod(column.shape)
    return np.frombuffer(mapped, column.dtype, count, column.offset).reshape(column.n, *column.shape)


class FeatureStore:
    """The features of a set of clips, read from disk when they are needed.

    It is a snapshot of the committed shards at the time of opening. It can be pickled, and read by many processes and
    threads.

    Args:
        path: Folder of the store.

    Raises:
        InputError: The store does not exist, has another version, is damaged, or has no clips.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        entries = list(read_index(self.path)[0].values())
        self.shards = [(entry.shard, entry.bytes, entry.sha256) for entry in entries]
        """File name, size and SHA-256 of each shard."""
        if not entries:
            raise InputError(
                f"the feature store {self.path} has no clips yet: nothing was committed. {RERUN}"
            )
        self._check_files()
        self.unlisted = read_unlisted(self.path)
        """Ids of hidden clips, which the last clip list does not contain."""
        self._shard_rows = [len(entry.clips) for entry in entries]
        """Rows of each shard, including removed and hidden clips."""
        self._order(entries)
        self._open = self._opener()

    def _check_files(self) -> None:
        checked = [(name, shard_damage(self.path, name, size)) for name, size, _ in self.shards]
        bad = [f"{name} ({what})" for name, what in checked if what]
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise InputError(f"the feature store {self.path} is damaged: {', '.join(bad[:3])}{more}. {RERUN}")

    def _order(self, entries: Sequence[ShardEntry]) -> None:
        rows = [
            (clip, digest, shard, row)
            for shard, entry in enumerate(entries)
            for row, clip, digest in entry.held()
        ]
        rows = [row for row in rows if row[0].clip_id not in self.unlisted]
        if not rows:
            raise InputError(
                f"the feature store {self.path} has no clips of the last clip list. Run avcil extract with the list "
                "that you want to use"
            )
        rows.sort(key=lambda item: item[0].clip_id)
        twice = [key for key, count in Counter(clip.clip_id for clip, *_ in rows).items() if count > 1]
        if twice:
            shown = ", ".join(map(repr, twice[:5]))
            raise InputError(
                f"the feature store {self.path} has {len(twice)} clip(s) twice: {shown}. Its index was changed by "
                "another program; extract into a new folder"
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
        """The classes, sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    @property
    def visual_shape(self) -> tuple[int, int, int] | None:
        """(T, S, D) of the visual tokens of a clip; None if the store has none."""
        return self.manifest.arrays().get("visual")  # type: ignore[return-value]

    @property
    def audio_width(self) -> int | None:
        """D of the audio vector of a clip; None if the store has none."""
        shape = self.manifest.arrays().get("audio")
        return None if shape is None else shape[0]

    def parts(self, modality: str) -> tuple[EncoderPart, ...]:
        """The encoders of the features of "audio" or "visual"; () if the store has none."""
        spec = getattr(self.manifest, modality)
        return () if spec is None else spec.parts

    def constants(self, modality: str) -> Constants | None:
        """Typical center and scale of the features of "audio" or "visual"; None if unknown."""
        spec = getattr(self.manifest, modality)
        return None if spec is None else spec.constants

    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Visual tokens (n, T, S, D) of `rows`, indices into `clips`, in the stored dtype."""
        return self._read("visual", rows)

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Audio vectors (n, D) of `rows`, indices into `clips`, in the stored dtype."""
        return self._read("audio", rows)

    def presence(self, rows: Sequence[int] | np.ndarray) -> Presence:
        """Which of `rows` (n) have audio and visual features."""
        return Presence.of_clips(self.clips[row] for row in np.asarray(rows, dtype=np.int64))

    def audio_tokens(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Audio tokens (n, N, D) of `rows` in the stored dtype, if the store has them."""
        return self._read("audio_tokens", rows)

    def _read(self, name: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        shape = self.manifest.arrays().get(name)
        if shape is None:
            if name == "audio_tokens":
                raise InputError(
                    f"the feature store {self.path} has no audio tokens; extract into a new one with "
                    "--audio-tokens"
                )
            other = next(iter(self.manifest.arrays()))
            raise InputError(
                f"the feature store {self.path} has no {name} features, only {other}; use --modality {other}"
            )
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows must be between 0 and {len(self) - 1}, got {rows.min()} to {rows.max()}")
        if rows.size:
            self._open(int(self._shard_of[rows[0]]))  # checks the shape before the allocation
        out = np.empty((len(rows), *shape), dtype=self.manifest.dtype)
        fill = self._read_large if out[:1].nbytes >= LARGE_ROW else self._copy_small
        fill(name, self._shard_of[rows], self._row_in_shard[rows], out)
        return out

    def _copy_small(self, name: str, shards: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        for begin in range(0, len(out), OPEN_SHARDS):  # limits the number of open shards
            here = shards[begin : begin + OPEN_SHARDS].tolist()
            arrays = {shard: self._open(shard).rows[name] for shard in set(here)}
            there = places[begin : begin + OPEN_SHARDS].tolist()
            for row, (shard, place) in enumerate(zip(here, there, strict=True), begin):
                out[row] = arrays[shard][place]

    def _read_large(self, name: str, shards: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        data, width = out.reshape(-1).view(np.uint8).data, out[:1].nbytes

        def read(row_range: tuple[int, int]) -> None:
            begin, end = row_range
            shard = self._open(int(shards[begin]))
            shard.read(name, int(places[begin]), data[begin * width : end * width])

        ranges = _row_ranges(shards, places, most=max(1, LARGE_READ // width))
        if len(ranges) == 1:
            read(ranges[0])
        else:
            list(_threads(os.getpid()).map(read, ranges))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of encoders, sampling, and the label, split and features of every clip.

        It does not depend on the distribution over shards, nor on paths.
        """
        digest = hashlib.sha256(json.dumps(self.manifest.identity(), sort_keys=True).encode())
        for clip, numbers in zip(self.clips, self._digests, strict=True):
            value = [clip.clip_id, clip.label, clip.split, clip.visual, clip.audio, numbers]
            digest.update(json.dumps(value).encode())
        return digest.hexdigest()

    def verify(self) -> None:
        """Compare all shards with the hashes in the index; InputError names what differs."""
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
            f"{len(rows)} clip(s) differ: {clips}. Delete these shard files and run the extract command "
            "again"
        )

    def _is_intact(self, row: int) -> bool:
        try:
            arrays = [self._read(name, [row])[0] for name in self.manifest.arrays()]
        except InputError:
            return False
        return row_digest(arrays) == self._digests[row]


def shard_damage(folder: Path, shard: str, size: int) -> str | None:
    """A quick check of a shard's file: why it is damaged (missing, a link, wrong size), or None."""
    try:
        status = (Path(folder) / "shards" / shard).lstat()
    except FileNotFoundError:
        return "missing"
    if not stat.S_ISREG(status.st_mode):
        return NOT_A_FILE
    return None if status.st_size == size else f"{status.st_size} bytes instead of {size}"


def _open_shard(files: Sequence[tuple[Path, int]], manifest: Manifest, number: int) -> _Shard:
    path, clips = files[number]
    return _Shard(path, manifest.arrays(), np.dtype(manifest.dtype), clips)


def _row_ranges(shards: np.ndarray, places: np.ndarray, *, most: int) -> list[tuple[int, int]]:
    """Ranges (begin, end) of the request with at most `most` consecutive rows of one shard, for one read each."""
    if not len(shards):
        return []
    breaks = np.flatnonzero((np.diff(shards) != 0) | (np.diff(places) != 1)) + 1
    runs = pairwise([0, *breaks.tolist(), len(shards)])
    return [(at, min(at + most, end)) for begin, end in runs for at in range(begin, end, most)]


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """The reader threads of a process."""
    return ThreadPoolExecutor(READERS, thread_name_prefix=f"store-{process}")
