"""Reading clips before they are encoded, in parallel and in order.

Shapes: F frames of H x W pixels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from avcil.data.clips import Clip
from avcil.encoders.base import AudioInputEncoder, FrameEncoder, Frames
from avcil.errors import AvcilError, InputError
from avcil.features.source import SourceFile, source_of
from avcil.utils.files import without_path
from avcil.utils.frame_sampling import SLICE_CENTERS, FrameSampling

if TYPE_CHECKING:
    from avcil.media.reader import MediaReader

_TIMEOUT = 300.0
"""Time limit for reading one clip in seconds."""


@dataclass(frozen=True, kw_only=True)
class DecodeSpec:
    """What to decode of a clip; None for a modality that is not stored."""

    frames: int | None
    short_side: int | None
    sample_rate: int | None
    frame_choice: str = SLICE_CENTERS
    extra_samplings: tuple[FrameSampling, ...] = ()
    """Additional samplings of frames, read in the same pass over the file."""

    @classmethod
    def of(cls, visual: FrameEncoder | None, audio: AudioInputEncoder | None) -> DecodeSpec:
        """The input that these encoders need."""
        sample_rate = None if audio is None else audio.sample_rate
        if visual is None:
            return cls(frames=None, short_side=None, sample_rate=sample_rate)
        first, *extra = visual.samplings
        return cls(**vars(first), sample_rate=sample_rate, extra_samplings=tuple(extra))

    @property
    def samplings(self) -> tuple[FrameSampling, ...]:
        """All samplings of frames; () without frames."""
        if self.frames is None:
            return ()
        first = FrameSampling(frames=self.frames, short_side=self.short_side, frame_choice=self.frame_choice)
        return first, *self.extra_samplings

    def describe(self, clip: Clip) -> str:
        """What is decoded of a clip, as text for failures.csv."""
        parts = [
            f"{sampling.frames} frames"
            + (f" of short side {sampling.short_side}" if sampling.short_side else "")
            for sampling in self.samplings
        ]
        if self.sample_rate is not None:
            parts.append(f"audio at {self.sample_rate} Hz")
        if clip.start is not None or clip.end is not None:
            begin = 0.0 if clip.start is None else clip.start
            parts.append(f"from {begin:g} s to " + ("the end" if clip.end is None else f"{clip.end:g} s"))
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class ReadClip:
    """The decoded frames and audio of a clip."""

    clip: Clip
    frames: np.ndarray | None = None
    """uint8 (F, H, W, 3), of the first sampling."""
    extra_frames: tuple[np.ndarray, ...] = ()
    """Frames of additional samplings."""
    waveform: np.ndarray | None = None
    """float32 (N,)."""
    reason: str = ""
    """Problems of the file; empty if there are none."""
    seconds: float | None = None
    """Duration of the segment; None if unknown."""
    source: SourceFile | None = None
    """State of the file before it was read; None if not requested."""

    @property
    def frame_sets(self) -> Frames | None:
        """The input of a visual encoder: the frames of all samplings."""
        return (
            self.frames if self.frames is None or not self.extra_frames else (self.frames, *self.extra_frames)
        )

    @property
    def has_any_modality(self) -> bool:
        """Whether frames or audio could be read."""
        return self.frames is not None or self.waveform is not None

    def missing_modalities(self, spec: DecodeSpec) -> list[str]:
        """The missing modalities."""
        pairs = {"video": (spec.frames, self.frames), "audio": (spec.sample_rate, self.waveform)}
        return [
            name for name, (requested, decoded) in pairs.items() if requested is not None and decoded is None
        ]


Read = Callable[[Clip], ReadClip]


def read_one(
    clip: Clip,
    spec: DecodeSpec,
    *,
    timeout: float = _TIMEOUT,
    reader: MediaReader | None = None,
) -> ReadClip:
    """Read one clip; errors of its file are returned as `reason`.

    Args:
        clip: The clip.
        spec: What to decode.
        timeout: Time limit in seconds in this process.
        reader: Decodes the clip, for example in a worker process with its own limits; None is this process.

    Raises:
        AvcilError: A worker process could not start, or was stopped.
        ProgramError: Reading failed because of an error in the program.
    """
    from avcil.media import read_clip
    from avcil.media.container import unexpected_reason
    from avcil.media.reader import UnexpectedReadError

    read = partial(read_clip, timeout=timeout) if reader is None else reader.read_clip
    try:
        media = read(
            clip.path,
            frames=spec.frames,
            short_side=spec.short_side,
            sample_rate=spec.sample_rate,
            start=clip.start,
            end=clip.end,
            frame_choice=spec.frame_choice,
            extra_samplings=spec.extra_samplings,
        )
    except (InputError, UnexpectedReadError) as error:
        return ReadClip(clip=clip, reason=without_path(error, clip.path))
    except AvcilError:
        raise
    except Exception as error:
        return ReadClip(clip=clip, reason=unexpected_reason(error, clip.path))
    return ReadClip(
        clip=clip,
        frames=media.frames,
        extra_frames=media.extra_frames,
        waveform=media.waveform,
        reason="; ".join(media.problems),
        seconds=media.duration,
    )


def with_source(clip: Clip, read: Read) -> ReadClip:
    """Read a clip, and record the state of its file before."""
    source = source_of(clip.path)
    return replace(read(clip), source=source)
