"""Reading clips ahead of encoding: several at a time, handed over in order, a bounded number in memory.

Shapes: F frames, H x W pixels, N samples of sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from avcil import prefetch
from avcil.clips import Clip
from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.errors import AvcilError, InputError
from avcil.files import without_path

if TYPE_CHECKING:
    from avcil.media.reader import ReaderProcess
    from avcil.workers.process import Allowance

TIMEOUT = 300.0
"""Seconds that reading one clip may take."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the encoders ask of a clip; None is a modality that is not stored."""

    frames: int | None
    short_side: int | None
    sample_rate: int | None
    frame_choice: str = VisualEncoder.frame_choice

    @classmethod
    def of(cls, visual: VisualEncoder | None, audio: AudioEncoder | None) -> Wanted:
        """What these encoders ask for."""
        return cls(
            frames=None if visual is None else visual.frames,
            short_side=None if visual is None else visual.short_side,
            sample_rate=None if audio is None else audio.sample_rate,
            frame_choice=VisualEncoder.frame_choice if visual is None else visual.frame_choice,
        )

    def tried(self, clip: Clip) -> str:
        """What is asked of a clip, in words, for the list of failures."""
        parts = []
        if self.frames is not None:
            parts.append(
                f"{self.frames} frames" + (f" of short side {self.short_side}" if self.short_side else "")
            )
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
    """uint8 (F, H, W, 3)."""
    sound: np.ndarray | None = None
    """float32 (N,)."""
    reason: str = ""
    seconds: float | None = None
    """How long the stretch read is; None where that is not known."""

    def lacks(self, wanted: Wanted) -> list[str]:
        """The wanted modalities that it does not have."""
        pairs = {"picture": (wanted.frames, self.frames), "sound": (wanted.sample_rate, self.sound)}
        return [name for name, (asked, got) in pairs.items() if asked is not None and got is None]


Read = Callable[[Clip], ReadClip]


def read_one(
    clip: Clip,
    wanted: Wanted,
    *,
    timeout: float = TIMEOUT,
    reader: ReaderProcess | None = None,
    allowance: Allowance | None = None,
) -> ReadClip:
    """Read one clip; whatever is wrong with its file becomes its `reason`, so that the others continue.

    Args:
        clip: The clip.
        wanted: What is read of it.
        timeout: Seconds that it may take in this process.
        reader: A worker process that decodes it, with its own limits; None decodes in this process.
        allowance: Time that `reader` may take, where several calls share it.

    Raises:
        AvcilError: `reader` could not start, or was stopped.
    """
    from avcil.media import read_clip
    from avcil.media.reader import UnexpectedReadError

    read = partial(read_clip, timeout=timeout)
    if reader is not None:
        read = partial(reader.read_clip, allowance=allowance)
    try:
        media = read(
            clip.path,
            frames=wanted.frames,
            short_side=wanted.short_side,
            sample_rate=wanted.sample_rate,
            start=clip.start,
            end=clip.end,
            frame_choice=wanted.frame_choice,
        )
    except (InputError, UnexpectedReadError) as error:
        return ReadClip(clip=clip, reason=without_path(error, clip.path))
    except AvcilError:
        raise
    except (
        Exception
    ) as error:  # a file can be broken in ways nobody foresaw; it is listed, with the kind of error
        return ReadClip(clip=clip, reason=f"{type(error).__name__}: {error}")
    return ReadClip(
        clip=clip,
        frames=media.frames,
        sound=media.sound,
        reason="; ".join(media.problems),
        seconds=media.duration,
    )


def read_ahead(clips: Iterable[Clip], read: Read, *, workers: int, ahead: int) -> Iterator[ReadClip]:
    """The clips as read, in order, by `workers` threads that run at most `ahead` clips ahead of it."""
    return prefetch.ahead(clips, read, workers=workers, depth=ahead)
