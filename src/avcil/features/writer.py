"""Writing a feature store: clips are collected in shards, and a shard is committed by its line in the index.

Several writers can add to one store. Each uses its own names for shards and holds a lock file (`writer_lock`); a new
writer removes uncommitted files of writers that have ended. If two writers encode the same clip, the first commit
counts.

A writer is not thread-safe. `begin_commit` writes in a background thread.

Shapes: T time slices, S spatial tokens per slice, N audio tokens, D width.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features.failures import Failure, FailureList
from avcil.features.index import append_lines, locked_index, read_index
from avcil.features.index_lines import ShardEntry, StoredClip, drop_line, remove_line
from avcil.features.manifest import Manifest
from avcil.features.rows import Row, make_row
from avcil.features.shards import row_digest, write_shard
from avcil.features.source import SourceFile
from avcil.features.store_folder import create_folder, shard_damage
from avcil.features.unlisted import write_unlisted
from avcil.features.writer_lock import WriterLock, remove_leftovers
from avcil.utils.csv_files import escape_surrogates

MAX_ROWS = 1024
"""Maximum number of clips in a shard; limited by the length of a line in the index."""


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
        self.reencoded = 0
        """Number of clips in lost or truncated shards, which were dropped and must be encoded again."""
        self._pending: list[Row] = []
        self._pending_lock = threading.Lock()
        """Held while `_pending` changes, which both threads use."""
        self._running_commit: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._shard_count = 0
        create_folder(self.path)
        with locked_index(self.path) as index:
            if (self.path / "manifest.json").exists():
                manifest.check_identity(Manifest.read(self.path), self.path)
            else:
                manifest.write(self.path)
            entries = self._drop_damaged(index)
            remove_leftovers(self.path / "shards", set(entries))
            self._lock = WriterLock(self.path / "shards")
        self.done = _ids(entries)
        """Ids of the stored clips."""
        self._failures = FailureList(self.path)

    @property
    def failures(self) -> Mapping[str, Failure]:
        """Failures by clip id, including those of earlier runs."""
        return self._failures.by_id

    def _drop_damaged(self, index: int) -> dict[str, ShardEntry]:
        """The intact shards; damaged ones are dropped from the index, so that their clips are encoded again."""
        entries, self._index_end = read_index(self.path)
        lost = [name for name, entry in entries.items() if shard_damage(self.path, name, entry.bytes)]
        if lost:
            append_lines(index, [drop_line(name) for name in lost], self.path)
            self.reencoded = sum(len(list(entries[name].rows())) for name in lost)
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
                is missing and the policy is not "keep".
        """
        features = {"visual": visual, "audio": audio, "audio_tokens": audio_tokens}
        row = make_row(self.manifest, clip, features, remark=remark, source=source)
        if clip.clip_id in self.done or any(other.clip.clip_id == clip.clip_id for other in self._pending):
            raise InputError(
                f"clip {clip.clip_id!r} is in the feature store {self.path} already; clip ids must be unique"
            )
        with self._pending_lock:
            self._pending.append(row)
        if len(self._pending) >= self.shard_size:
            self.commit()

    def fail(self, clip: Clip, reason: str, tried: str = "") -> None:
        """List a clip as failed, with the reason and what was to be decoded."""
        self._failures.add(
            Failure(
                clip_id=clip.clip_id,
                path=escape_surrogates(str(clip.path)),
                label=clip.label,
                split=clip.split,
                reason=escape_surrogates(" ".join(reason.split())),
                tried=escape_surrogates(tried),
            )
        )
        if self._failures.is_due:
            with locked_index(self.path):
                self._failures.write(self.done)

    def stored(self) -> dict[str, StoredClip]:
        """Committed clips by id, including hidden ones."""
        entries, _ = read_index(self.path)
        return {clip.clip_id: clip for entry in entries.values() for _, clip, _ in entry.rows()}

    def remove(self, clip_ids: Iterable[str]) -> None:
        """Remove clips from the store, so that they can be stored again."""
        ids_to_remove = set(clip_ids)
        with locked_index(self.path) as index:
            entries, _ = read_index(self.path)
            by_shard = {
                name: [clip.clip_id for _, clip, _ in entry.rows() if clip.clip_id in ids_to_remove]
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
                self._failures.keep_only(clip_ids)
        return len(unlisted)

    def commit(self) -> None:
        """Commit pending clips in shards of up to `MAX_ROWS`; they remain pending if the disk is full."""
        self._end_commit()
        self._commit(self._take_pending())

    def begin_commit(self) -> None:
        """Commit pending clips in a background thread, after the previous commit.

        Raises:
            InputError: The previous commit failed, for example because the disk is full.
        """
        self._end_commit()
        self._running_commit = self._thread.submit(self._commit, self._take_pending())

    def _end_commit(self) -> None:
        running, self._running_commit = self._running_commit, None
        if running is not None:
            running.result()

    def _take_pending(self) -> list[Row]:
        with self._pending_lock:
            rows, self._pending = self._pending, []
        return rows

    def _commit(self, rows: list[Row]) -> None:
        try:
            while rows:
                rows = self._write_rows(rows[:MAX_ROWS]) + rows[MAX_ROWS:]
        except BaseException:
            with self._pending_lock:
                self._pending = rows + self._pending
            raise
        if not self._failures.is_empty:
            with locked_index(self.path):
                self._failures.write(self.done)

    def _write_rows(self, rows: list[Row]) -> list[Row]:
        """Write a shard and its index line.

        Returns:
            The rows that were not committed: none on success; if another writer has stored some of the clips meanwhile,
            the rows of all other clips.
        """
        shard = f"{self._lock.name}-{self._shard_count:05d}.safetensors"
        self._shard_count += 1
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
    return {clip.clip_id for entry in entries.values() for _, clip, _ in entry.rows()}
