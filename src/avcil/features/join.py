"""Join feature stores of the same encoders into one, for example one store for each recording condition."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.features.failures import read_failures
from avcil.features.index import StoredClip
from avcil.features.store import FeatureStore
from avcil.features.writer import FeatureWriter

CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class JoinReport:
    """What `join` wrote."""

    out: Path
    clips: dict[str, int]
    """Clips from each store, by the prefix of their ids."""
    not_copied: int
    """Failed and unlisted clips of the stores."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"out": str(self.out), "clips": self.clips, "not_copied": self.not_copied}

    def text(self) -> str:
        """For people."""
        lines = [f"{count} clips with ids {prefix}/..." for prefix, count in self.clips.items()]
        if self.not_copied:
            lines.append(f"{self.not_copied} failed or unlisted clips of these stores were not copied")
        return "\n".join([*lines, f"written to {self.out}"])


def join(stores: Sequence[Path], out: Path) -> JoinReport:
    """Copy the clips of several stores into a new one. Interrupted, it continues with the same call.

    The folder name of a store and "/" come before the ids of its clips, so that equal ids stay apart and the stream
    `domain-incremental` finds the domain of each clip.

    Args:
        stores: Two or more stores with the same encoders, shapes, dtype and sampling.
        out: The new store.

    Raises:
        InputError: The stores were made in different ways, or two folders have the same name.
    """
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
    opened = [FeatureStore(path) for path in stores]
    first = opened[0].manifest.identity()
    for store, path in zip(opened[1:], stores[1:], strict=True):
        other = store.manifest.identity()
        if differing := [key for key in first | other if first.get(key) != other.get(key)]:
            raise InputError(
                f"{stores[0]} and {path} cannot be joined: they differ in {', '.join(differing)} "
                "(avcil features show prints both). Extract one of them again with the encoders of the other"
            )
    expected = {
        f"{name}/{clip.clip_id}" for name, store in zip(names, opened, strict=True) for clip in store.clips
    }
    with FeatureWriter(out, opened[0].manifest) as writer:
        if unknown := sorted(set(writer.done) - expected):
            raise InputError(
                f"{out} holds {len(unknown)} clips that are in none of the stores, such as {unknown[0]!r}: a store "
                "has changed, or it was made from other stores. Choose another --out, or delete that folder"
            )
        for name, store in zip(names, opened, strict=True):
            _copy(store, name, writer)
    return JoinReport(
        out=out,
        clips={name: len(store.clips) for name, store in zip(names, opened, strict=True)},
        not_copied=sum(
            len(read_failures(path)) + len(store.unlisted) for path, store in zip(stores, opened, strict=True)
        ),
    )


def _copy(store: FeatureStore, prefix: str, writer: FeatureWriter) -> None:
    rows = [row for row, clip in enumerate(store.clips) if f"{prefix}/{clip.clip_id}" not in writer.done]
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        arrays = {name: getattr(store, name)(part) for name in store.manifest.arrays()}
        for number, row in enumerate(part):
            clip = store.clips[row]
            of_clip = {name: array[number] for name, array in arrays.items() if _has(clip, name)}
            writer.add(
                clip.to_clip(f"{prefix}/{clip.clip_id}"), **of_clip, remark=clip.remark, source=clip.source
            )


def _has(clip: StoredClip, array: str) -> bool:
    return clip.visual if array == "visual" else clip.audio
