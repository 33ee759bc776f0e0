"""Writing a feature store: clips are collected in shards, and a shard is committed by its line in the index.

Several writers can add to one store. Each uses its own names for shards and holds a lock file (`writer_lock`); a new
writer removes uncommitted files of writers that have ended. If two writers encode the same clip, the first commit
counts.

A writer is not thread-safe. `begin_commit` writes in a background thread.

Shapes: T time slices, S spatial tokens per slice, N audio tokens, D width.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features.failures import Failure, read_failures, write_failures
from avcil.features.index import (
    ShardEntry,
    StoredClip,
    append_lines,
    drop_line,
    locked_index,
    read_index,
    remove_line,
)
from avcil.features.manifest import OTHER_FOLDER, ZERO, Manifest
from avcil.features.shards import row_digest, write_shard
from avcil.features.source import SourceFile
from avcil.features.store import shard_damage
from avcil.features.unlisted import write_unlisted
from avcil.features.writer_lock import WriterLock, remove_leftovers
from avcil.utils.files import disk_error

FAILURES_INTERVAL = 2.0
"""Seconds between updates of failures.csv."""
MAX_ROWS = 1024
"""Maximum number of clips in a shard; limited by the length of a line in the index."""


@dataclass(frozen=True)
class _Row:
    clip: StoredClip
    arrays: dict[str, np.ndarray]


class FeatureWriter:
    """Adds clips to a new or existing feature store.

    Use it in a `with` block: at the end, pending clips are committed; after an error, they are discarded.

    Args:
        path: Folder of the store; created if it does not exist.
        manifest: Description of the arrays; an existing store must have the same identity.
        shard_size: Number of clips per shard, up to `MAX_ROWS`; `add` commits when so many are pending.

    Raises:
        InputError: The folder has other content, or the store has another manifest.
    """

    def __init__(self, path: str | Path, manifest: Manifest, *, shard_size: int = 64) -> None:
        if shard_size < 1:
            raise InputError(f"shard_size must be 1 or more, not {shard_size}")
        self.path, self.manifest, self.shard_size = Path(path), manifest, shard_size
        self.remade = 0
        """Number of clips in lost or truncated shards, which were dropped and must be encoded again."""
        self._rows: list[_Row] = []
        self._state = threading.Lock()
        """Protects the state that both threads use."""
        self._committing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._new_failures: dict[str, Failure] = {}
        self._listed_at = time.monotonic()
        self._count = 0
        self._check_folder()
        with locked_index(self._create_folder()) as index:
            if (self.path / "manifest.json").exists():
                manifest.assert_in_sync(Manifest.read(self.path), self.path)
            else:
                manifest.write(self.path)
            entries = self._drop_damaged(index)
            remove_leftovers(self.path / "shards", set(entries))
            self._lock = WriterLock(self.path / "shards")
        self.done = _ids(entries)
        """Ids of the stored clips."""
        self.failures = read_failures(self.path)
        """Failures by clip id, including those of earlier runs."""

    def _check_folder(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; a feature store is a folder. Choose another --out")
        known = {"manifest.json", "shards", "index.jsonl"}
        inside = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if "manifest.json" not in inside and any(n not in known and not n.startswith(".") for n in inside):
            raise InputError(
                f"the folder {self.path} contains other files and is not a feature store. {OTHER_FOLDER}"
            )

    def _create_folder(self) -> Path:
        try:
            (self.path / "shards").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.path / "shards") from error
        return self.path

    def _drop_damaged(self, index: int) -> dict[str, ShardEntry]:
        """The intact shards; damaged ones are dropped from the index, so that their clips are encoded again."""
        entries, self._index_end = read_index(self.path)
        lost = [name for name, entry in entries.items() if shard_damage(self.path, name, entry.bytes)]
        if lost:
            append_lines(index, [drop_line(name) for name in lost], self.path)
            self.remade = sum(len(list(entries[name].held())) for name in lost)
        return {name: entry for name, entry in entries.items() if name not in lost}

    def add(
        self,
        clip: Clip,
        *,
        visual: np.ndarray | None = None,
        audio: np.ndarray | None = None,
        audio_tokens: np.ndarray | None = None,
        remark: str = "",
        source: SourceFile | None = None,
    ) -> None:
        """Add one clip.

        Args:
            clip: The clip.
            visual: (T, S, D), any float dtype; None if the clip lacks the modality.
            audio: (D,), or None.
            audio_tokens: (N, D), or None.
            remark: Problem of the file with which the clip can still be stored.
            source: State of its file when it was read.

        Raises:
            InputError: A value is not finite or too large for the dtype of the store, a shape is wrong, or a modality
            is
                missing and the policy is not "keep".
        """
        given = {"visual": visual, "audio": audio, "audio_tokens": audio_tokens}
        if all(given[name] is None for name in self.manifest.arrays()):
            raise InputError(f"clip {clip.clip_id!r} has neither visual nor audio features")
        arrays = {name: self._stored_array(clip, name, given[name]) for name in self.manifest.arrays()}
        stored = StoredClip(
            clip_id=clip.clip_id,
            label=clip.label,
            split=clip.split,
            path=printable(str(clip.path if source is None else clip.path.absolute())),
            start=clip.start,
            end=clip.end,
            visual="visual" in arrays and visual is not None,
            audio="audio" in arrays and audio is not None,
            remark=printable(" ".join(remark.split())),
            source=source,
        )
        if clip.clip_id in self.done or any(row.clip.clip_id == clip.clip_id for row in self._rows):
            raise InputError(
                f"clip {clip.clip_id!r} is in the feature store {self.path} already; clip ids must be unique"
            )
        with self._state:
            self._rows.append(_Row(stored, arrays))
        if len(self._rows) >= self.shard_size:
            self.commit()

    def _stored_array(self, clip: Clip, name: str, value: np.ndarray | None) -> np.ndarray:
        shape, dtype = self.manifest.arrays()[name], np.dtype(self.manifest.dtype)
        where = f"{name} features of clip {clip.clip_id!r}"
        if value is None:
            if self.manifest.missing not in ("keep", ZERO):
                raise InputError(
                    f"the {where} are missing; only stores with the policy --missing keep accept such clips"
                )
            return np.zeros(shape, dtype)  # a placeholder: the index records that the modality is missing
        value = np.asarray(value)
        if value.shape != shape:
            raise InputError(f"the {where} have shape {value.shape}; this store needs {shape}")
        if not np.isfinite(value).all():
            raise InputError(f"the {where} contain NaN or infinity")
        largest = float(np.abs(value).max())
        if largest > float(np.finfo(dtype).max):
            raise InputError(
                f"the {where} reach {largest:g}, more than the maximum of {dtype}; use dtype float32"
            )
        return value.astype(dtype)  # a copy, so that the caller can reuse its buffer

    def fail(self, clip: Clip, reason: str, tried: str = "") -> None:
        """List a clip as failed, with the reason and what was to be decoded."""
        failure = Failure(
            clip_id=clip.clip_id,
            path=printable(str(clip.path)),
            label=clip.label,
            split=clip.split,
            reason=printable(" ".join(reason.split())),
            tried=printable(tried),
        )
        with self._state:
            self._new_failures[clip.clip_id] = failure
        if time.monotonic() - self._listed_at > FAILURES_INTERVAL:
            with locked_index(self.path):
                self._list_failures()

    def stored(self) -> dict[str, StoredClip]:
        """Committed clips by id, including hidden ones."""
        entries, _ = read_index(self.path)
        return {clip.clip_id: clip for entry in entries.values() for _, clip, _ in entry.held()}

    def remove(self, clip_ids: Iterable[str]) -> None:
        """Remove clips from the store, so that they can be stored again."""
        ids_to_remove = set(clip_ids)
        with locked_index(self.path) as index:
            entries, _ = read_index(self.path)
            by_shard = {
                name: [clip.clip_id for _, clip, _ in entry.held() if clip.clip_id in ids_to_remove]
                for name, entry in entries.items()
            }
            append_lines(index, [remove_line(name, ids) for name, ids in by_shard.items() if ids], self.path)
        self.done -= ids_to_remove

    def use_only(self, clip_ids: Set[str] | None) -> int:
        """Hide all stored clips except these; None hides none.

        Hidden clips remain on the disk. Failures of other clips are removed.

        Returns:
            Number of hidden clips.
        """
        with locked_index(self.path):
            self._read_new_lines()
            unlisted = set() if clip_ids is None else self.done - clip_ids
            write_unlisted(self.path, unlisted)
            if clip_ids is not None:
                before = read_failures(self.path)
                self.failures = {key: value for key, value in before.items() if key in clip_ids}
                if self.failures != before:
                    write_failures(self.path, self.failures)
        return len(unlisted)

    def _list_failures(self) -> None:
        """Update failures.csv. Call it while the index is locked, since other writers update it too."""
        before = read_failures(self.path)
        with self._state:
            new = dict(self._new_failures)
        merged = {key: value for key, value in (before | new).items() if key not in self.done}
        if merged != before:
            write_failures(self.path, merged)
        with self._state:
            left = self._new_failures.items()
            self._new_failures = {key: value for key, value in left if new.get(key) is not value}
        self.failures, self._listed_at = merged, time.monotonic()

    def commit(self) -> None:
        """Commit pending clips in shards of up to `MAX_ROWS`; they remain pending if the disk is full."""
        self._end_commit()
        self._commit(self._take_rows())

    def begin_commit(self) -> None:
        """Commit pending clips in a background thread, after the previous commit.

        Raises:
            InputError: The previous commit failed, for example because the disk is full.
        """
        self._end_commit()
        self._committing = self._thread.submit(self._commit, self._take_rows())

    def _end_commit(self) -> None:
        committing, self._committing = self._committing, None
        if committing is not None:
            committing.result()

    def _take_rows(self) -> list[_Row]:
        with self._state:
            rows, self._rows = self._rows, []
        return rows

    def _commit(self, rows: list[_Row]) -> None:
        try:
            while rows:
                rows = self._write_rows(rows[:MAX_ROWS]) + rows[MAX_ROWS:]
        except BaseException:
            with self._state:
                self._rows = rows + self._rows
            raise
        if self._new_failures or self.failures:
            with locked_index(self.path):
                self._list_failures()

    def _write_rows(self, rows: list[_Row]) -> list[_Row]:
        """Write a shard and its index line.

        Returns:
            The rows that were not committed: none on success; if another writer has stored some of the clips meanwhile,
            the rows of all other clips.
        """
        shard = f"{self._lock.name}-{self._count:05d}.safetensors"
        self._count += 1
        path = self.path / "shards" / shard
        columns = {name: [row.arrays[name] for row in rows] for name in self.manifest.arrays()}
        size, sha256 = write_shard(path, columns)
        digests = tuple(row_digest(list(row.arrays.values())) for row in rows)
        clips = tuple(row.clip for row in rows)
        entry = ShardEntry(shard=shard, bytes=size, sha256=sha256, clips=clips, digests=digests)
        try:
            with locked_index(self.path) as index:
                self._read_new_lines()
                stored_by_others = {clip.clip_id for clip in clips} & self.done
                if not stored_by_others:
                    append_lines(index, [entry.to_line()], self.path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if stored_by_others:
            path.unlink()
            return [row for row in rows if row.clip.clip_id not in stored_by_others]
        self.done |= {clip.clip_id for clip in clips}
        return []

    def _read_new_lines(self) -> None:
        """Read what other writers have committed since the last call."""
        entries, self._index_end = read_index(self.path, self._index_end)
        self.done |= _ids(entries)

    def close(self) -> None:
        """Commit pending clips and release the store."""
        try:
            self.commit()
        finally:
            self._release()

    def _release(self) -> None:
        self._thread.shutdown()  # first waits for a running commit, while the lock is held
        self._lock.release()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._release()


def _ids(entries: Mapping[str, ShardEntry]) -> set[str]:
    return {clip.clip_id for entry in entries.values() for _, clip, _ in entry.held()}


def printable(text: str) -> str:
    """Escape bytes of file names that are not valid UTF-8."""
    return text.encode(errors="backslashreplace").decode()
