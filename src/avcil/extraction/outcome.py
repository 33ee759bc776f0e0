"""Encoding a batch of clips, with an outcome for each clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avcil.data.clips import Clip
from avcil.extraction.encoding import Arrays, Encoders
from avcil.extraction.read_ahead import DecodeSpec, ReadClip
from avcil.features.source import SourceFile


@dataclass(frozen=True, kw_only=True)
class ClipOutcome:
    """The features of a clip, or the reason why there are none."""

    clip: Clip
    arrays: Arrays | None = None
    failure: str = ""
    """Reason; empty on success."""
    remark: str = ""
    """Problem of a file that could be encoded."""
    lacks_modality: bool = False
    """Whether it failed because it lacks a modality."""
    has_other_modality: bool = False
    """Whether it has another modality."""
    source: SourceFile | None = None
    """State of its file when it was read."""


def encode_batch(batch: Sequence[ReadClip], encoders: Encoders, *, missing: str) -> list[ClipOutcome]:
    """Encode a batch; clips that lack a modality are encoded only if `missing` is "keep"."""
    excluded = {
        read.clip.clip_id: reason
        for read in batch
        if (reason := _why_excluded(read, encoders.decode_spec, missing))
    }
    good = [read for read in batch if read.clip.clip_id not in excluded]
    encoded = dict(zip([read.clip.clip_id for read in good], encoders.encode(good), strict=True))
    return [_outcome(read, excluded.get(read.clip.clip_id), encoded.get(read.clip.clip_id)) for read in batch]


def _why_excluded(read: ReadClip, spec: DecodeSpec, missing: str) -> str | None:
    """Why a clip cannot be encoded because it lacks a modality; None if it can."""
    lacks = read.missing_modalities(spec)
    if not lacks or (missing == "keep" and read.has_any_modality):
        return None
    return read.reason or f"it has no {' and no '.join(lacks)}"


def _outcome(read: ReadClip, lacks: str | None, encoded: Arrays | str | None) -> ClipOutcome:
    if lacks is not None:
        return ClipOutcome(
            clip=read.clip, failure=lacks, lacks_modality=True, has_other_modality=read.has_any_modality
        )
    if isinstance(encoded, str):
        return ClipOutcome(clip=read.clip, failure=encoded)
    return ClipOutcome(clip=read.clip, arrays=encoded, remark=read.reason, source=read.source)
