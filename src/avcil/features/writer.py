"""Writing a feature store: clips go into shards, a shard counts once its index line is on the disk.

Several writers may fill one store. Each names its shards after itself and holds a lock file while it lives; a
new writer removes what dead ones left without an index line. A clip that two of them made is kept once: the
first to commit it wins, the other drops its copy.

A writer is used by one thread; `begin_commit` lets that go on while a thread of the writer's own waits for the disk.

Shapes: T time slices, S spatial tokens per slice, N audio tokens, D width.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
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
    SHARD_NAME,
    ShardEntry,
    StoredClip,
    append_lines,
    drop_line,
    locked_index,
    read_index,
    remove_line,
)
from avcil.features.manifest import NEW_PLACE, ZERO, Manifest
from avcil.features.shards import row_digest, write_shard
from avcil.features.source import SourceFile
from avcil.features.store import shard_damage
from avcil.features.unlisted import write_unlisted
from avcil.utils.files import disk_error

SECONDS_BETWEEN_LISTS = 2.0
MOST_ROWS = 1024
"""Clips in one shard: its line of the index must stay below `index.LONGEST_LINE`."""
LOCK_NAME = re.compile(r"\.([0-9a-f]{12})\.lock", re.ASCII)
LEFTOVER_NAME = re.compile(rf"\.?{SHARD_NAME.pattern}(?:\.[0-9]+\.part)?", re.ASCII)
"""A shard, or a part of one."""


@dataclass(frozen=True)
class _Row:
    clip: StoredClip
    arrays: dict[str, np.ndarray]


class FeatureWriter:
    """Adds clips to a feature store, new or begun before.

    :param path: the store's folder, made if it does not exist.
    :param manifest: what the clips' arrays are; a store made with another one is refused.
    :param shard_size: clips a shard, up to `MOST_ROWS`; `add` commits by itself when so many wait.
    :raises InputError: if the folder is something else, or a store made in another way.

    Use it in a `with` block: leaving it commits what waits, an error inside drops what waits.
    """

    def __init__(self, path: str | Path, manifest: Manifest, *, shard_size: int = 64) -> None:
        if shard_size < 1:
            raise InputError(f"shard_size must be 1 or more, not {shard_size}")
        self.path, self.manifest, self.shard_size = Path(path), manifest, shard_size
        self.remade = 0
        """Clips of lost or cut shards, dropped from the index on opening; they are to be made anew."""
        self._rows: list[_Row] = []
        self._state = threading.Lock()
        """Held while what the thread that commits shares with the one that adds is changed."""
        self._committing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._new_failures: dict[str, Failure] = {}
        self._listed_at = time.monotonic()
        self._count = 0
        self._refuse_other_folders()
        with locked_index(self._made_folder()) as index:
            if (self.path / "manifest.json").exists():
                manifest.assert_in_sync(Manifest.read(self.path), self.path)
            else:
                manifest.write(self.path)
            entries = self._drop_damaged(index)
            self._remove_leftovers(set(entries))
            self._lock: int | None
        self._name, self._lock = self._take_name()
        self.done = _ids(entries)
        """Ids of the clips that are stored."""
        self.failures = read_failures(self.path)
        """The clips listed as failed, by id, those of earlier runs included."""

    def _refuse_other_folders(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; a feature store is a folder. Choose another --out")
        known = {"manifest.json", "shards", "index.jsonl"}
        inside = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if "manifest.json" not in inside and any(n not in known and not n.startswith(".") for n in inside):
            raise InputError(
                f"the folder {self.path} holds other files and is not a feature store. {NEW_PLACE}"
            )

    def _made_folder(self) -> Path:
        try:
            (self.path / "shards").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.path / "shards") from error
        return self.path

    def _drop_damaged(self, index: int) -> dict[str, ShardEntry]:
        """The committed shards that are whole; the index forgets the others: their clips are made anew."""
        entries, self._index_end = read_index(self.path)
        lost = [name for name, entry in entries.items() if shard_damage(self.path, name, entry.bytes)]
        if lost:
            append_lines(index, [drop_line(name) for name in lost], self.path)
            self.remade = sum(len(list(entries[name].held())) for name in lost)
        return {name: entry for name, entry in entries.items() if name not in lost}

    def _remove_leftovers(self, committed: set[str]) -> None:
        """Remove shards without an index line whose writer is dead; called with the index locked.

        Only files of names that a writer gives are removed: others in the folder are not the store's.
        """
        folder = self.path / "shards"
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir(follow_symlinks=False))
        locks = [match for name in names if (match := LOCK_NAME.fullmatch(name))]
        alive = {lock[1] for lock in locks if _is_held(folder / lock[0])}
        for name in names:
            match = LEFTOVER_NAME.fullmatch(name) or LOCK_NAME.fullmatch(name)
            if match and match[1] not in alive and name not in committed:
                (folder / name).unlink(missing_ok=True)

    def _take_name(self) -> tuple[str, int]:
        """A name of this writer's own and its lock; called with the index locked: nobody sweeps meanwhile."""
        name = secrets.token_hex(6)
        path = self.path / "shards" / f".{name}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise disk_error(error, path) from error
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return name, descriptor

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
            clip: What it is.
            visual: (T, S, D) of any float type; None if it lacks the modality.
            audio: (D,), or None.
            audio_tokens: (N, D), or None.
            remark: What is wrong with its file although it can be stored.
            source: Its file when it was read.

        Raises:
            InputError: If a value is not finite or too large for the store's dtype, a shape is not the store's, or a
                modality is lacking where the store's policy is not "keep".
        """
        given = {"visual": visual, "audio": audio, "audio_tokens": audio_tokens}
        if all(given[name] is None for name in self.manifest.arrays()):
            raise InputError(f"clip {clip.clip_id!r} has neither picture nor sound to store")
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
                    f"there are no {where}, and this store takes no clip without them (missing: keep does)"
                )
            return np.zeros(shape, dtype)  # fills the row; the index says that the clip lacks the modality
        value = np.asarray(value)
        if value.shape != shape:
            raise InputError(f"the {where} have shape {value.shape}; this store holds {shape}")
        if not np.isfinite(value).all():
            raise InputError(f"the {where} hold NaN or infinity; such a clip cannot be learnt from")
        largest = float(np.abs(value).max())
        if largest > float(np.finfo(dtype).max):
            raise InputError(f"the {where} reach {largest:g}, more than {dtype} holds; use dtype float32")
        return value.astype(dtype)  # a copy: the caller may reuse its buffer

    def fail(self, clip: Clip, reason: str, tried: str = "") -> None:
        """List a clip as failed, with the reason in words and what was asked of its file."""
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
        if time.monotonic() - self._listed_at > SECONDS_BETWEEN_LISTS:
            with locked_index(self.path):
                self._list_failures()

    def stored(self) -> dict[str, StoredClip]:
        """What is committed, by clip id, the clips that are not in use included."""
        entries, _ = read_index(self.path)
        return {clip.clip_id: clip for entry in entries.values() for _, clip, _ in entry.held()}

    def remove(self, clip_ids: Iterable[str]) -> None:
        """Take clips out of the store, so that they can be stored anew."""
        wanted = set(clip_ids)
        with locked_index(self.path) as index:
            entries, _ = read_index(self.path)
            held = {
                name: [clip.clip_id for _, clip, _ in entry.held() if clip.clip_id in wanted]
                for name, entry in entries.items()
            }
            append_lines(index, [remove_line(name, ids) for name, ids in held.items() if ids], self.path)
        self.done -= wanted

    def use_only(self, clip_ids: Set[str] | None) -> int:
        """Let the store show these clips alone, those stored later included; None shows all.

        Other clips stay on the disk. Failures of clips that are not named are forgotten.

        Returns:
            How many stored clips are not shown.
        """
        with locked_index(self.path):
            self._see_others()
            unlisted = set() if clip_ids is None else self.done - clip_ids
            write_unlisted(self.path, unlisted)
            if clip_ids is not None:
                before = read_failures(self.path)
                self.failures = {key: value for key, value in before.items() if key in clip_ids}
                if self.failures != before:
                    write_failures(self.path, self.failures)
        return len(unlisted)

    def _list_failures(self) -> None:
        """Bring failures.csv up to date; called with the index locked, as other writers list theirs too."""
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
        """Write the waiting clips as one shard, or several of `MOST_ROWS`; what a full disk refuses goes on waiting."""
        self._end_commit()
        self._commit(self._take_rows())

    def begin_commit(self) -> None:
        """Put what waits on the disk as one shard, in a thread of the writer's own, and go on; after the one before.

        :raises InputError: if the one before failed, as on a full disk.
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
                rows = self._try_to_commit(rows[:MOST_ROWS]) + rows[MOST_ROWS:]
        except BaseException:
            with self._state:
                self._rows = rows + self._rows
            raise
        if self._new_failures or self.failures:
            with locked_index(self.path):
                self._list_failures()

    def _try_to_commit(self, rows: list[_Row]) -> list[_Row]:
        """Write the shard, then its index line; the rows left if another writer stored one of its clips meanwhile."""
        shard = f"{self._name}-{self._count:05d}.safetensors"
        self._count += 1
        path = self.path / "shards" / shard
        columns = {name: [row.arrays[name] for row in rows] for name in self.manifest.arrays()}
        size, sha256 = write_shard(path, columns)
        digests = tuple(row_digest(list(row.arrays.values())) for row in rows)
        clips = tuple(row.clip for row in rows)
        entry = ShardEntry(shard=shard, bytes=size, sha256=sha256, clips=clips, digests=digests)
        try:
            with locked_index(self.path) as index:
                self._see_others()
                taken = {clip.clip_id for clip in clips} & self.done
                if not taken:
                    append_lines(index, [entry.to_line()], self.path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if taken:
            path.unlink()
            return [row for row in rows if row.clip.clip_id not in taken]
        self.done |= {clip.clip_id for clip in clips}
        return []

    def _see_others(self) -> None:
        """Learn what other writers committed since this one last looked."""
        entries, self._index_end = read_index(self.path, self._index_end)
        self.done |= _ids(entries)

    def close(self) -> None:
        """Commit what waits and let go of the store."""
        try:
            self.commit()
        finally:
            self._release()

    def _release(self) -> None:
        self._thread.shutdown()  # a commit that was begun ends first: its lock says that this writer is alive
        if self._lock is not None:
            (self.path / "shards" / f".{self._name}.lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._release()


def _is_held(lock: Path) -> bool:
    """Whether the writer of a lock file lives; a lock that cannot be opened counts as held."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _ids(entries: Mapping[str, ShardEntry]) -> set[str]:
    return {clip.clip_id for entry in entries.values() for _, clip, _ in entry.held()}


def printable(text: str) -> str:
    """Text that can be written as UTF-8; other bytes of a file name are shown escaped."""
    return text.encode(errors="backslashreplace").decode()
