"""What becomes of a clip on its way from file to features, wherever the work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avcil.data.clips import Clip
from avcil.extraction.encoding import Arrays, Encoders
from avcil.extraction.read_ahead import DecodeSpec, ReadClip
from avcil.features.source import SourceFile


@dataclass(frozen=True, kw_only=True)
class ClipOutcome:
    """A clip's arrays, or why there are none."""

    clip: Clip
    arrays: Arrays | None = None
    failure: str = ""
    """Why there are no arrays; empty if there are."""
    remark: str = ""
    """What is wrong with the file although it was encoded."""
    is_lacking: bool = False
    """Whether it failed because it lacks a modality."""
    source: SourceFile | None = None
    """Its file when it was read."""


def encode_batch(batch: Sequence[ReadClip], encoders: Encoders, *, missing: str) -> list[ClipOutcome]:
    """An outcome for each clip read; those that lack a modality are encoded only where `missing` is "keep"."""
    lacking = {
        read.clip.clip_id: reason for read in batch if (reason := _lack(read, encoders.wanted, missing))
    }
    good = [read for read in batch if read.clip.clip_id not in lacking]
    encoded = dict(zip([read.clip.clip_id for read in good], encoders.encode(good), strict=True))
    return [_outcome(read, lacking.get(read.clip.clip_id), encoded.get(read.clip.clip_id)) for read in batch]


def _lack(read: ReadClip, wanted: DecodeSpec, missing: str) -> str | None:
    """Why a clip cannot be encoded for want of a modality; None if it can."""
    lacks = read.lacks(wanted)
    nothing = read.frames is None and read.sound is None
    if not lacks or (missing == "keep" and not nothing):
        return None
    return read.reason or f"it has no {' and no '.join(lacks)}"


def _outcome(read: ReadClip, lacks: str | None, encoded: Arrays | str | None) -> ClipOutcome:
    if lacks is not None:
        return ClipOutcome(clip=read.clip, failure=lacks, is_lacking=True)
    if isinstance(encoded, str):
        return ClipOutcome(clip=read.clip, failure=encoded)
    return ClipOutcome(clip=read.clip, arrays=encoded, remark=read.reason, source=read.source)
