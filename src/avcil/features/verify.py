"""Checking that a feature store is intact, and that it contains a clip list.

Every shard is read once. Checked are its hash, the digest of each clip, that numbers are finite, and that features are
not constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features.failures import read_failures
from avcil.features.index import read_index
from avcil.features.index_lines import ShardEntry, StoredClip
from avcil.features.manifest import Manifest, modality_of
from avcil.features.shards import check_columns, read_header, row_digest
from avcil.features.source import change_of
from avcil.features.store_folder import NOT_A_FILE, shard_damage
from avcil.features.unlisted import read_unlisted
from avcil.features.writer_lock import LOCK_NAME
from avcil.utils.files import file_sha256
from avcil.utils.listing import quoted
from avcil.utils.progress import Progress

_DAMAGE = {"missing": "shards missing", NOT_A_FILE: "shards that are links or folders"}
ACTIONS = {
    "lost": "run the avcil extract command that made the store again",
    "shard": "delete the shard file and run the avcil extract command that made the store again",
    "foreign": "these files belong to no committed shard; the next avcil extract removes those of killed runs, and "
    "keeps the others",
    "index": "move the store away and extract into a new folder",
    "not_finite": "check the clips; if they are correct, the encoder is not: extract again with another one",
    "constant": "check the clips: they may be black or silent; remove them from the list, or keep them",
    "coverage": "run avcil extract with this clip list and --out of this store",
    "changed": "extract this clip list into a new folder",
    "extra": "nothing, if the list was shortened on purpose; avcil extract with this list excludes them",
    "unlisted": "nothing, if they were taken out of the clip list on purpose; avcil extract --add uses them again",
    "file_changed": "run the avcil extract command again, which encodes these clips again",
    "file_missing": "nothing, if the files were moved or deleted on purpose; the features can be used without them",
}
"""What to do, by kind of problem."""
_UNLISTED = "stored clips that are not in use, since the last clip list does not contain them"


@dataclass(frozen=True)
class StoreProblem:
    """A problem of a store, and where it occurs."""

    kind: str
    """A key of `ACTIONS`."""
    what: str
    where: tuple[str, ...]
    """Shards or clip ids."""
    is_error: bool = True
    """False if it may be intended."""

    def text(self) -> str:
        """The problem as text, with advice."""
        mark = "wrong" if self.is_error else "note "
        return f"{mark}  {self.what}: {len(self.where)} ({quoted(self.where)})\n       to do: {ACTIONS[self.kind]}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of `verify`."""

    path: Path
    clips: int
    shards: int
    bytes: int
    failed: int
    """Clips listed in failures.csv."""
    sources: int
    """Clips whose media file could be compared with its recorded state."""
    problems: tuple[StoreProblem, ...]

    @property
    def is_intact(self) -> bool:
        """Whether there are no errors."""
        return not any(problem.is_error for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return asdict(self) | {"path": str(self.path), "intact": self.is_intact}

    def text(self) -> str:
        """The result as text."""
        size = f"{self.clips} clips in {self.shards} shards, {self.bytes / 2**20:.1f} MiB, read and compared"
        if self.failed:
            size += f"; {self.failed} more are listed in failures.csv"
        size += f"\n{self.sources} clips compared with their files"
        if self.sources < self.clips:
            size += f"; for {self.clips - self.sources}, the file is unknown or missing"
        verdict = "intact" if self.is_intact else "NOT intact"
        return "\n".join([f"{self.path}: {verdict}", size, *(problem.text() for problem in self.problems)])


def verify(path: Path | str, clips: Sequence[Clip] | None = None) -> Verification:
    """Read a store completely and compare it with its index, its manifest and optionally a clip list.

    Args:
        path: Folder of the store.
        clips: The clip list.

    Raises:
        InputError: The store does not exist, or its manifest or index cannot be read.
    """
    path = Path(path)
    manifest = Manifest.read(path)
    entries = list(read_index(path)[0].values())
    if not entries:
        raise InputError(f"the feature store {path} has no clips yet; run the avcil extract command again")
    stored = [clip for entry in entries for _, clip, _ in entry.rows()]
    unlisted, failed = read_unlisted(path), read_failures(path)
    listed = {clip.clip_id: clip for clip in clips or ()}
    changes = _changes_of_files(stored, unlisted, listed)
    problems = [
        _foreign_files(path, entries),
        _duplicates(stored),
        *_damage(path, entries, manifest),
        StoreProblem(
            "unlisted", _UNLISTED, tuple(c.clip_id for c in stored if c.clip_id in unlisted), is_error=False
        ),
        StoreProblem("file_missing", "clips whose file is missing", changes["missing"], is_error=False),
        StoreProblem("file_changed", "clips whose file changed after it was encoded", changes["changed"]),
    ]
    if clips is not None:
        problems += _coverage({clip.clip_id: clip for clip in stored}, listed, unlisted, failed.keys())
    return Verification(
        path=path,
        clips=len(stored),
        shards=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        failed=len(failed),
        sources=len(changes[""]) + len(changes["changed"]),
        problems=tuple(problem for problem in problems if problem.where),
    )


def _foreign_files(path: Path, entries: Sequence[ShardEntry]) -> StoreProblem:
    folder = path / "shards"
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(
        name for name in names - {entry.shard for entry in entries} if not LOCK_NAME.fullmatch(name)
    )
    what = "files in shards/ without a line in the index"
    return StoreProblem("foreign", what, tuple(foreign), is_error=False)


def _duplicates(stored: Sequence[StoredClip]) -> StoreProblem:
    counts = Counter(clip.clip_id for clip in stored)
    twice = sorted(clip_id for clip_id, count in counts.items() if count > 1)
    return StoreProblem("index", "clips that are in the index twice", tuple(twice))


def _changes_of_files(
    stored: Sequence[StoredClip], unlisted: Set[str], listed: Mapping[str, Clip]
) -> dict[str, tuple[str, ...]]:
    """Ids of the clips in use whose media file is the same (""), "missing" or "changed".

    Paths are those of the clip list, otherwise the stored ones.
    """
    found: dict[str, list[str]] = {"": [], "missing": [], "changed": []}
    for clip in stored:
        if clip.source is not None and clip.clip_id not in unlisted:
            path = listed[clip.clip_id].path if clip.clip_id in listed else clip.path
            found[change_of(clip.source, path)].append(clip.clip_id)
    return {change: tuple(clip_ids) for change, clip_ids in found.items()}


def _damage(path: Path, entries: Sequence[ShardEntry], manifest: Manifest) -> Iterable[StoreProblem]:
    """The problems of all shards; equal problems of several shards or clips are one."""
    merged: dict[tuple[str, str], StoreProblem] = {}
    with Progress(len(entries), "shards") as progress:
        for entry in entries:
            for problem in _check_shard(path, entry, manifest):
                first = merged.setdefault((problem.kind, problem.what), replace(problem, where=()))
                merged[problem.kind, problem.what] = replace(first, where=first.where + problem.where)
            progress.step()
    return merged.values()


def _check_shard(path: Path, entry: ShardEntry, manifest: Manifest) -> Iterator[StoreProblem]:
    shard = (entry.shard,)
    if damage := shard_damage(path, entry.shard, entry.bytes):
        what = _DAMAGE.get(damage, "shards with another length than when written")
        yield StoreProblem("shard" if damage == NOT_A_FILE else "lost", what, shard)
        return
    file = path / "shards" / entry.shard
    if file_sha256(file) != entry.sha256:
        what = "shards whose content changed after they were written"
        yield StoreProblem("shard", what, shard)
    try:
        arrays = _arrays(file, manifest, len(entry.clips))
    except InputError as error:
        yield StoreProblem("shard", f"shards that cannot be read ({error})", shard)
        return
    for row, clip, digest in entry.rows():
        yield from _check_clip(clip, digest, {name: array[row] for name, array in arrays.items()})


def _check_clip(clip: StoredClip, digest: str, arrays: Mapping[str, np.ndarray]) -> Iterator[StoreProblem]:
    where = (clip.clip_id,)
    if row_digest(list(arrays.values())) != digest:
        yield StoreProblem("shard", "clips whose numbers changed after they were written", where)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            what = f"clips with {name} features that are not finite"
            yield StoreProblem("not_finite", what, where)
        elif getattr(clip, modality_of(name)) and array.size > 1 and array.min() == array.max():
            what = f"clips whose {name} features are all equal"
            yield StoreProblem("constant", what, where, is_error=False)


def _arrays(file: Path, manifest: Manifest, clips: int) -> dict[str, np.ndarray]:
    """Memory-mapped arrays (n, ...) of a shard; InputError if they are not those of the manifest."""
    columns = read_header(file)
    check_columns(columns, manifest.arrays(), np.dtype(manifest.dtype), clips, "it")
    used = {name: columns[name] for name in manifest.arrays()}
    return {name: np.memmap(file, c.dtype, "r", c.offset, (c.n, *c.shape)) for name, c in used.items()}


def _coverage(
    stored: Mapping[str, StoredClip], listed: Mapping[str, Clip], unlisted: Set[str], failed: Set[str]
) -> Iterator[StoreProblem]:
    """Differences between the store and the clip list."""

    def problem(kind: str, what: str, where: Iterable[str], *, is_error: bool = True) -> StoreProblem:
        return StoreProblem(kind, what, tuple(sorted(where)), is_error=is_error)

    not_stored = listed.keys() - stored.keys()
    yield problem("coverage", "listed clips that were never tried", not_stored - failed)
    yield problem("coverage", "listed clips that are in failures.csv", not_stored & failed, is_error=False)
    extra = stored.keys() - listed.keys() - unlisted
    yield problem("extra", "stored clips that are not listed", extra, is_error=False)
    for name in ("label", "split", "start", "end"):
        differing = [
            key
            for key in stored.keys() & listed.keys()
            if getattr(stored[key], name) != getattr(listed[key], name)
        ]
        yield problem("changed", f"clips stored with another {name} than listed", differing)
