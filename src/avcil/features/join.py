"""Join feature stores of the same encoders into one, for example one store for each recording condition."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from avcil.errors import InputError
from avcil.features.failures import read_failures
from avcil.features.manifest import modality_of
from avcil.features.store import FeatureStore
from avcil.features.writer import FeatureWriter

_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class JoinReport:
    """What `join` wrote."""

    out: Path
    clips: dict[str, int]
    """Clips from each store, by the prefix of their ids."""
    not_copied: int
    """Failed and unlisted clips of the stores."""

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self) | {"out": str(self.out)}

    def text(self) -> str:
        """The report as text."""
        lines = [f"{count} clips with ids {prefix}/..." for prefix, count in self.clips.items()]
        if self.not_copied:
            lines.append(f"{self.not_copied} failed or unlisted clips of these stores were not copied")
        return "\n".join([*lines, f"written to {self.out}"])


def join(stores: Sequence[Path], out: Path) -> JoinReport:
    """Copy the clips of several stores into a new one. Interrupted, it continues with the same call.

    The folder name of a store and "/" come before the ids of its clips, so that ids are unique and the stream
    `domain-incremental` finds the domain of each clip.

    Args:
        stores: Two or more stores with the same encoders, shapes, dtype and sampling.
        out: The new store.

    Raises:
        InputError: The stores were made in different ways, or two folders have the same name.
    """
    names = _names(stores, out)
    opened = [FeatureStore(path) for path in stores]
    _check_manifests(opened)
    expected = {
        f"{name}/{clip.clip_id}" for name, store in zip(names, opened, strict=True) for clip in store.clips
    }
    with FeatureWriter(out, opened[0].manifest) as writer:
        if unknown := sorted(set(writer.done) - expected):
            raise InputError(
                f"{out} contains {len(unknown)} clips that are in none of the stores, such as {unknown[0]!r}: a store "
                "has changed, or it was made from other stores. Choose another --out, or delete that folder"
            )
        for name, store in zip(names, opened, strict=True):
            _copy(store, name, writer)
    return JoinReport(
        out=out,
        clips={name: len(store.clips) for name, store in zip(names, opened, strict=True)},
        not_copied=sum(len(read_failures(store.path)) + len(store.unlisted) for store in opened),
    )


def _names(stores: Sequence[Path], out: Path) -> list[str]:
    """The folder names of the stores; InputError if two are equal."""
    names = [Path(os.path.abspath(path)).name for path in stores]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if len(stores) < 2 or twice:
        raise InputError(
            f"two stores have the folder name {twice[0]!r}: rename one of them"
            if twice
            else "give two feature stores or more to join"
        )
    if os.path.abspath(out) in map(os.path.abspath, stores):
        raise InputError(f"{out} is one of the stores to join: choose another --out")
    return names


def _check_manifests(stores: Sequence[FeatureStore]) -> None:
    """Raise InputError unless all stores were made in the same way."""
    first = stores[0].manifest.identity()
    for store in stores[1:]:
        other = store.manifest.identity()
        if differing := [key for key in first | other if first.get(key) != other.get(key)]:
            raise InputError(
                f"{stores[0].path} and {store.path} cannot be joined: they differ in {', '.join(differing)} "
                "(avcil features show prints both). Extract one of them again with the encoders of the other"
            )


def _copy(store: FeatureStore, prefix: str, writer: FeatureWriter) -> None:
    rows = [row for row, clip in enumerate(store.clips) if f"{prefix}/{clip.clip_id}" not in writer.done]
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        arrays = {name: getattr(store, name)(part) for name in store.manifest.arrays()}
        for position, row in enumerate(part):
            clip = store.clips[row]
            of_clip = {
                name: array[position] for name, array in arrays.items() if getattr(clip, modality_of(name))
            }
            writer.add(
                clip.to_clip(f"{prefix}/{clip.clip_id}"), **of_clip, remark=clip.remark, source=clip.source
            )
