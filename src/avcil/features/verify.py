"""Checking that a feature store is intact, and that it contains a clip list.

Every shard is read once. Checked are its hash, the digest of each clip, that numbers are finite, and that features are
not constant.

Shapes: n clips of a shard, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features.failures import read_failures
from avcil.features.index import ShardEntry, read_index
from avcil.features.manifest import Manifest, modality_of
from avcil.features.shards import check_columns, read_header, row_digest
from avcil.features.source import change_of
from avcil.features.store import NOT_A_FILE, shard_damage
from avcil.features.unlisted import read_unlisted
from avcil.features.writer_lock import LOCK_NAME
from avcil.utils.files import file_sha256
from avcil.utils.progress import Progress

SHOWN = 5
DAMAGE = {"missing": "shards missing", NOT_A_FILE: "shards that are links or folders"}
ACTIONS = {
    "shard": "delete the shard file and run the avcil extract command that made the store again",
    "foreign": "these files belong to no committed shard; the next avcil extract removes what killed runs left "
    "and leaves others alone",
    "index": "move the store away and extract into a new folder",
    "numbers": "check the clips; if they are correct, the encoder is not: extract again with another one",
    "constant": "check the clips: they may be black or silent; remove them from the list, or keep them",
    "coverage": "run avcil extract with this clip list and --out of this store",
    "changed": "extract this clip list into a new folder",
    "extra": "nothing, if the list was shortened on purpose; avcil extract with this list excludes them",
    "unlisted": "nothing, if they were taken out of the clip list on purpose; avcil extract --add uses them again",
    "source": "run the avcil extract command again, which encodes these clips again",
    "gone": "nothing, if the files were moved or deleted on purpose; the features can be used without them",
}


@dataclass(frozen=True, kw_only=True)
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
        """The result as text."""
        shown = ", ".join(map(repr, self.where[:SHOWN])) + (", ..." if len(self.where) > SHOWN else "")
        mark = "wrong" if self.is_error else "note "
        return f"{mark}  {self.what}: {len(self.where)} ({shown})\n       to do: {ACTIONS[self.kind]}"


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
    findings: tuple[StoreProblem, ...]

    @property
    def is_intact(self) -> bool:
        """Whether there are no errors."""
        return not any(finding.is_error for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return asdict(self) | {"path": str(self.path), "sound": self.is_intact}

    def text(self) -> str:
        """The result as text."""
        size = f"{self.clips} clips in {self.shards} shards, {self.bytes / 2**20:.1f} MiB, read and compared"
        if self.failed:
            size += f"; {self.failed} more are listed in failures.csv"
        size += f"\n{self.sources} clips compared with their files"
        if self.sources < self.clips:
            size += f"; for {self.clips - self.sources}, the file is unknown or missing"
        verdict = "intact" if self.is_intact else "NOT intact"
        return "\n".join([f"{self.path}: {verdict}", size, *(finding.text() for finding in self.findings)])


def verify(path: Path | str, clips: Sequence[Clip] | None = None) -> Verification:
    """Read a store completely and compare it with its index, its manifest and optionally a clip list.

    Raises:
        InputError: The store does not exist, or its manifest or index cannot be read.
    """
    path = Path(path)
    manifest = Manifest.read(path)
    entries = list(read_index(path)[0].values())
    if not entries:
        raise InputError(f"the feature store {path} has no clips yet; run the avcil extract command again")
    findings = [*_foreign_files(path, entries), *_twice(entries)]
    progress = Progress(len(entries), "shards")
    problems: dict[tuple[str, str, bool], list[str]] = {}
    for entry in entries:
        for kind, what, where, is_error in _check_shard(path, entry, manifest):
            problems.setdefault((kind, what, is_error), []).append(where)
        progress.step()
    progress.close()
    findings += [
        StoreProblem(kind=kind, what=what, where=tuple(where), is_error=is_error)
        for (kind, what, is_error), where in problems.items()
    ]
    unlisted = read_unlisted(path)
    missing, changed, sources = _compare_sources(entries, unlisted, clips or ())
    findings += [*_unlisted(entries, unlisted), *missing, *changed]
    if clips is not None:
        findings += _coverage(path, entries, clips, unlisted)
    return Verification(
        path=path,
        clips=sum(len(list(entry.held())) for entry in entries),
        shards=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        failed=len(read_failures(path)),
        sources=sources,
        findings=tuple(findings),
    )


def _foreign_files(path: Path, entries: Sequence[ShardEntry]) -> Iterator[StoreProblem]:
    known = {entry.shard for entry in entries}
    folder = path / "shards"
    files = folder.iterdir() if folder.is_dir() else ()
    names = sorted(file.name for file in files if not LOCK_NAME.fullmatch(file.name))
    foreign = tuple(name for name in names if name not in known)
    if foreign:
        yield StoreProblem(
            kind="foreign", what="files in shards/ without a line in the index", where=foreign, is_error=False
        )


def _twice(entries: Sequence[ShardEntry]) -> Iterator[StoreProblem]:
    ids = [clip.clip_id for entry in entries for _, clip, _ in entry.held()]
    if len(ids) != len(set(ids)):
        twice = sorted(key for key, count in Counter(ids).items() if count > 1)
        yield StoreProblem(kind="index", what="clips that are in the index twice", where=tuple(twice))


def _unlisted(entries: Sequence[ShardEntry], unlisted: Set[str]) -> Iterator[StoreProblem]:
    hidden = tuple(
        clip.clip_id for entry in entries for _, clip, _ in entry.held() if clip.clip_id in unlisted
    )
    if hidden:
        what = "stored clips that are not in use, since the last clip list does not contain them"
        yield StoreProblem(kind="unlisted", what=what, where=hidden, is_error=False)


def _compare_sources(
    entries: Sequence[ShardEntry], unlisted: Set[str], clips: Sequence[Clip]
) -> tuple[list[StoreProblem], list[StoreProblem], int]:
    """Problems with missing and with changed media files, and the number of compared files.

    Paths are those of the clip list, otherwise the stored ones.
    """
    listed = {clip.clip_id: clip.path for clip in clips}
    by_change: dict[str, list[str]] = {"": [], "missing": [], "changed": []}
    for clip in (clip for entry in entries for _, clip, _ in entry.held()):
        if clip.source is not None and clip.clip_id not in unlisted:
            change = change_of(clip.source, listed.get(clip.clip_id, clip.path))
            by_change[change].append(clip.clip_id)
    missing, changed = tuple(by_change["missing"]), tuple(by_change["changed"])
    return (
        [StoreProblem(kind="gone", what="clips whose file is missing", where=missing, is_error=False)]
        if missing
        else [],
        [StoreProblem(kind="source", what="clips whose file changed after it was encoded", where=changed)]
        if changed
        else [],
        len(by_change[""]) + len(changed),
    )


Found = tuple[str, str, str, bool]


def _check_shard(path: Path, entry: ShardEntry, manifest: Manifest) -> Iterator[Found]:
    """(kind, what, where, is_error) for each problem of a shard."""
    damage = shard_damage(path, entry.shard, entry.bytes)
    if damage:
        what = DAMAGE.get(damage, "shards with another length than when written")
        yield "shard", what, entry.shard, True
        return
    file = path / "shards" / entry.shard
    changed = file_sha256(file) != entry.sha256
    if changed:
        yield "shard", "shards whose content changed after they were written", entry.shard, True
    try:
        arrays = _arrays(file, manifest, len(entry.clips))
    except InputError as error:
        yield "shard", f"shards that cannot be read ({error})", entry.shard, True
        return
    for row, clip, digest in entry.held():
        values = {name: array[row] for name, array in arrays.items()}
        if row_digest(list(values.values())) != digest:
            yield "shard", "clips whose numbers changed after they were written", clip.clip_id, True
        for name, value in values.items():
            if not np.isfinite(value).all():
                yield "numbers", f"clips with {name} features that are not finite", clip.clip_id, True
            elif getattr(clip, modality_of(name)) and value.size > 1 and value.min() == value.max():
                yield "constant", f"clips whose {name} features are all equal", clip.clip_id, False


def _arrays(file: Path, manifest: Manifest, clips: int) -> dict[str, np.ndarray]:
    """Memory-mapped arrays (n, ...) of a shard; InputError if they are not those of the manifest."""
    columns = read_header(file)
    check_columns(columns, manifest.arrays(), np.dtype(manifest.dtype), clips, "it")
    used = {name: columns[name] for name in manifest.arrays()}
    return {name: np.memmap(file, c.dtype, "r", c.offset, (c.n, *c.shape)) for name, c in used.items()}


def _coverage(
    path: Path, entries: Sequence[ShardEntry], clips: Sequence[Clip], unlisted: Set[str]
) -> Iterator[StoreProblem]:
    """Differences between the store and the clip list."""
    stored = {clip.clip_id: clip for entry in entries for _, clip, _ in entry.held()}
    listed = {clip.clip_id: clip for clip in clips}
    failed = read_failures(path)
    untried = sorted(listed.keys() - stored.keys() - failed.keys())
    unstored = sorted((listed.keys() & failed.keys()) - stored.keys())
    extra = sorted(stored.keys() - listed.keys() - unlisted)
    if untried:
        yield StoreProblem(kind="coverage", what="listed clips that were never tried", where=tuple(untried))
    if unstored:
        yield StoreProblem(
            kind="coverage",
            what="listed clips that are in failures.csv",
            where=tuple(unstored),
            is_error=False,
        )
    if extra:
        yield StoreProblem(
            kind="extra", what="stored clips that are not listed", where=tuple(extra), is_error=False
        )
    differs: Callable[[str], list[str]] = lambda name: [  # noqa: E731
        key
        for key in sorted(stored.keys() & listed.keys())
        if getattr(stored[key], name) != getattr(listed[key], name)
    ]
    for name in ("label", "split", "start", "end"):
        if other := differs(name):
            yield StoreProblem(
                kind="changed", what=f"clips stored with another {name} than listed", where=tuple(other)
            )
