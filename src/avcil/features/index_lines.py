"""The lines of `index.jsonl` of a feature store, as records: committed shards and their clips.

Values are checked when a line is read. Each line ends with its checksum, so that changed labels and paths are detected;
stores of earlier versions have no checksums.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avcil.data.clips import SPLITS, Clip
from avcil.data.modality import Modality
from avcil.features.source import SourceFile
from avcil.utils.input_files import parse_json

SHARD_NAME = re.compile(r"([0-9a-f]{12})-[0-9]{5,}\.safetensors", re.ASCII)
"""File names of shards: the name of the writer, and a number."""


@dataclass(frozen=True, kw_only=True)
class StoredClip:
    """A stored clip; `visual` and `audio` are False for missing modalities."""

    clip_id: str
    label: str
    split: str
    path: str
    start: float | None
    end: float | None
    visual: bool
    audio: bool
    remark: str = ""
    """Problem of the file with which the clip could still be stored."""
    source: SourceFile | None = None
    """State of its file when it was read; None in stores of earlier versions, and for imported features."""

    def to_clip(self, clip_id: str) -> Clip:
        """The clip with the given id, to be added to another store."""
        return Clip(
            clip_id=clip_id,
            path=Path(self.path),
            label=self.label,
            split=self.split,
            start=self.start,
            end=self.end,
        )

    def has(self, modality: Modality) -> bool:
        """Whether the clip has every part of a modality."""
        return (self.audio or not modality.has_audio) and (self.visual or not modality.has_visual)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A committed shard: its file, size and hash, its clips and their digests in row order.

    Clips in `removed` are not part of the store.
    """

    shard: str
    bytes: int
    sha256: str
    clips: tuple[StoredClip, ...]
    digests: tuple[str, ...]
    removed: frozenset[str] = frozenset()

    def rows(self) -> Iterator[tuple[int, StoredClip, str]]:
        """Row number, clip and digest of each clip that was not removed."""
        for row, (clip, digest) in enumerate(zip(self.clips, self.digests, strict=True)):
            if clip.clip_id not in self.removed:
                yield row, clip, digest

    def to_line(self) -> builtins.bytes:
        """The line of the index, with its checksum."""
        clips = [
            _without_defaults(asdict(clip)) | {"digest": digest}
            for clip, digest in zip(self.clips, self.digests, strict=True)
        ]
        value = {"shard": self.shard, "bytes": self.bytes, "sha256": self.sha256, "clips": clips}
        return _with_checksum(value)

    @classmethod
    def of(cls, value: dict[str, Any]) -> ShardEntry:
        """The entry of a parsed line; ValueError if it is invalid."""
        _check_fields(value, _SHARD_FIELDS, "the line")
        for clip in value["clips"]:
            _check_fields(clip, _CLIP_FIELDS, "a clip", optional={"remark", "source"})
            if clip.get("source") is not None:
                _check_fields(clip["source"], _SOURCE_FIELDS, "the source of a clip")
            if clip["start"] is not None and clip["end"] is not None and clip["end"] <= clip["start"]:
                raise ValueError(f"the clip {clip['clip_id']!r:.60} ends before it starts")
        digests = tuple(clip.pop("digest") for clip in value["clips"])
        clips = tuple(_clip_of(clip) for clip in value["clips"])
        return cls(
            shard=value["shard"], bytes=value["bytes"], sha256=value["sha256"], clips=clips, digests=digests
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_time(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and value >= 0)


def _is_hex(digits: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and bool(re.fullmatch(rf"[0-9a-f]{{{digits}}}", value))


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_SHARD_FIELDS: dict[str, Callable[[Any], bool]] = {
    "shard": lambda value: isinstance(value, str) and bool(SHARD_NAME.fullmatch(value)),
    "bytes": lambda value: type(value) is int and value > 0,
    "sha256": _is_hex(64),
    "clips": lambda value: isinstance(value, list) and value != [],
}
_CLIP_FIELDS: dict[str, Callable[[Any], bool]] = {
    "clip_id": _is_text,
    "label": _is_text,
    "split": lambda value: value in SPLITS,
    "path": lambda value: isinstance(value, str),
    "start": _is_time,
    "end": _is_time,
    "visual": _is_bool,
    "audio": _is_bool,
    "digest": _is_hex(32),
    "remark": lambda value: isinstance(value, str),
    "source": lambda value: isinstance(value, dict),
}
_SOURCE_FIELDS: dict[str, Callable[[Any], bool]] = {
    "bytes": lambda value: type(value) is int and value >= 0,
    "mtime_ns": lambda value: type(value) is int,
    "sha256": lambda value: value is None or _is_hex(64)(value),
}


def _check_fields(
    value: Any,
    fields: dict[str, Callable[[Any], bool]],
    what: str,
    optional: frozenset[str] | set[str] = frozenset(),
) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    if unknown := value.keys() - fields.keys():
        raise ValueError(f"{what} has the unknown field {min(unknown)!r:.40}")
    if missing := fields.keys() - value.keys() - optional:
        raise ValueError(f"{what} lacks the field {min(missing)!r}")
    for name, given in value.items():
        if not fields[name](given):
            raise ValueError(f"{what} has the {name} {given!r:.60}")


_CHECKSUM = b', "checksum": "%s"}'


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()


def _with_checksum(value: dict[str, Any]) -> bytes:
    body = json.dumps(value, allow_nan=False).encode()
    return body[:-1] + _CHECKSUM % _digest(body) + b"\n"


def parse_line(line: bytes) -> dict[str, Any]:
    """The value of a line; ValueError if the checksum or the JSON is wrong."""
    value = parse_json(line, "the line")
    if not isinstance(value, dict):
        raise ValueError("the line is not a JSON object")
    if "checksum" in value:
        end = len(line) - len(_CHECKSUM % bytes(32))
        body = line[:end] + b"}"
        if line[end:] != _CHECKSUM % _digest(body):
            raise ValueError("its content changed after it was written")
        del value["checksum"]
    return value


def _without_defaults(clip: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in clip.items() if name not in ("remark", "source") or value}


def _clip_of(value: dict[str, Any]) -> StoredClip:
    source = value.get("source")
    return StoredClip(**value | {"source": None if source is None else SourceFile(**source)})


def check_dropped(value: dict[str, Any]) -> None:
    """Raise ValueError unless the value is that of a line from `drop_line`."""
    _check_fields(value, {"shard": _SHARD_FIELDS["shard"], "dropped": lambda it: it is True}, "the line")


def check_removed(value: dict[str, Any]) -> None:
    """Raise ValueError unless the value is that of a line from `remove_line`."""
    _check_fields(value, {"shard": _SHARD_FIELDS["shard"], "removed": _is_ids}, "the line")


def drop_line(shard: str) -> bytes:
    """A line that removes a lost shard from the index."""
    return _with_checksum({"shard": shard, "dropped": True})


def remove_line(shard: str, clip_ids: Iterable[str]) -> bytes:
    """A line that removes clips of a shard from the store."""
    return _with_checksum({"shard": shard, "removed": sorted(clip_ids)})
