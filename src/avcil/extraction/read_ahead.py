"""Reading clips ahead of encoding: several at a time, handed over in order, a bounded number in memory.

Shapes: F frames, H x W pixels, N samples of sound.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from avcil.data.clips import Clip
from avcil.encoders.base import FrameEncoder, Frames, SoundEncoder
from avcil.errors import AvcilError, InputError
from avcil.features.source import SourceFile, source_of
from avcil.utils import prefetch
from avcil.utils.files import without_path
from avcil.utils.frame_sampling import SLICE_CENTERS, FrameSampling

if TYPE_CHECKING:
    from avcil.media.reader import MediaSource

TIMEOUT = 300.0
"""Seconds that reading one clip may take."""


@dataclass(frozen=True, kw_only=True)
class DecodeSpec:
    """What the encoders ask of a clip; None is a modality that is not stored."""

    frames: int | None
    short_side: int | None
    sample_rate: int | None
    frame_choice: str = SLICE_CENTERS
    also: tuple[FrameSampling, ...] = ()
    """Further choices of frames, taken from the same pass over the file."""

    @classmethod
    def of(cls, visual: FrameEncoder | None, audio: SoundEncoder | None) -> DecodeSpec:
        """What these encoders ask for."""
        sample_rate = None if audio is None else audio.sample_rate
        if visual is None:
            return cls(frames=None, short_side=None, sample_rate=sample_rate)
        first, *also = visual.samplings
        return cls(**vars(first), sample_rate=sample_rate, also=tuple(also))

    @property
    def samplings(self) -> tuple[FrameSampling, ...]:
        """All choices of frames; none without pictures."""
        if self.frames is None:
            return ()
        first = FrameSampling(frames=self.frames, short_side=self.short_side, frame_choice=self.frame_choice)
        return first, *self.also

    def tried(self, clip: Clip) -> str:
        """What is asked of a clip, in words, for the list of failures."""
        parts = [
            f"{sampling.frames} frames"
            + (f" of short side {sampling.short_side}" if sampling.short_side else "")
            for sampling in self.samplings
        ]
        if self.sample_rate is not None:
            parts.append(f"sound at {self.sample_rate} Hz")
        if clip.start is not None or clip.end is not None:
            begin = 0.0 if clip.start is None else clip.start
            parts.append(f"from {begin:g} s to " + ("the end" if clip.end is None else f"{clip.end:g} s"))
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class ReadClip:
    """A clip as read; `reason` says what is wrong with it, empty if nothing is."""

    clip: Clip
    frames: np.ndarray | None = None
    """uint8 (F, H, W, 3), of the first choice of frames."""
    also: tuple[np.ndarray, ...] = ()
    """Such arrays of the further choices of frames, where there are any."""
    sound: np.ndarray | None = None
    """float32 (N,)."""
    reason: str = ""
    seconds: float | None = None
    """How long the stretch read is; None where that is not known."""
    source: SourceFile | None = None
    """Its file as it was before it was read; None where that was not asked for."""

    @property
    def pictures(self) -> Frames | None:
        """What a visual encoder takes: the frames of all choices."""
        return self.frames if self.frames is None or not self.also else (self.frames, *self.also)

    def lacks(self, wanted: DecodeSpec) -> list[str]:
        """The wanted modalities that it does not have."""
        pairs = {"picture": (wanted.frames, self.frames), "sound": (wanted.sample_rate, self.sound)}
        return [name for name, (asked, got) in pairs.items() if asked is not None and got is None]


Read = Callable[[Clip], ReadClip]


def read_one(
    clip: Clip,
    wanted: DecodeSpec,
    *,
    timeout: float = TIMEOUT,
    source: MediaSource | None = None,
) -> ReadClip:
    """Read one clip; whatever is wrong with its file becomes its `reason`, so that the others continue.

    Args:
        clip: The clip.
        wanted: What is read of it.
        timeout: Seconds that it may take in this process.
        source: What decodes it, such as a worker process with its own limits; None is this process.

    Raises:
        AvcilError: A worker process could not start, or was stopped.
        ProgramError: Reading failed for a reason that lies in the program, not in the file.
    """
    from avcil.media import read_clip
    from avcil.media.container import PROGRAM_ERRORS, ProgramError
    from avcil.media.reader import UnexpectedReadError

    read = partial(read_clip, timeout=timeout) if source is None else source.read_clip
    try:
        media = read(
            clip.path,
            frames=wanted.frames,
            short_side=wanted.short_side,
            sample_rate=wanted.sample_rate,
            start=clip.start,
            end=clip.end,
            frame_choice=wanted.frame_choice,
            also=wanted.also,
        )
    except (InputError, UnexpectedReadError) as error:
        return ReadClip(clip=clip, reason=without_path(error, clip.path))
    except AvcilError:
        raise
    except PROGRAM_ERRORS as error:
        raise ProgramError(clip.path, f"{type(error).__name__}: {error}") from error
    except (
        Exception
    ) as error:  # a file can be broken in ways nobody foresaw; it is listed, with the kind of error
        return ReadClip(clip=clip, reason=f"{type(error).__name__}: {error}")
    return ReadClip(
        clip=clip,
        frames=media.frames,
        also=media.also,
        sound=media.sound,
        reason="; ".join(media.problems),
        seconds=media.duration,
    )


def with_source(clip: Clip, read: Read) -> ReadClip:
    """The clip as read, and its file as it was just before."""
    source = source_of(clip.path)
    return replace(read(clip), source=source)


def read_ahead(clips: Iterable[Clip], read: Read, *, workers: int, ahead: int) -> Generator[ReadClip]:
    """The clips as read, in order, by `workers` threads that run at most `ahead` clips ahead of it."""
    return prefetch.ahead(clips, read, workers=workers, depth=ahead)
