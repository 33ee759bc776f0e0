"""Reading one clip: frames and sound of a stretch of a file, and in plain words what cannot be had.

Shapes: F frames of H x W pixels, N samples of sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TypeVar

import numpy as np
from av.container import InputContainer

from avcil.errors import InputError
from avcil.media.container import (
    FFMPEG_ERRORS,
    Deadline,
    MediaError,
    open_media,
    reason_of,
    stretch_of,
    survey,
)
from avcil.media.frame_choice import SLICE_CENTERS, sample_times
from avcil.media.frames import FrameRequest, Pictures, read_pictures
from avcil.media.sound import Sound, read_sound
from avcil.media.timeline import SHORT_BY, timeline_of
from avcil.utils.frame_sampling import FrameSampling

Part = TypeVar("Part", Pictures, Sound)


@dataclass(frozen=True, kw_only=True)
class ClipMedia:
    """Frames and sound of a clip on one clock; what cannot be had is None and `problems` says why."""

    frames: np.ndarray | None
    """(F, H, W, 3) uint8 RGB, upright, square pixels."""
    also: tuple[np.ndarray, ...]
    """Frames of the further samplings asked for; empty where `frames` is None."""
    frame_times: np.ndarray | None
    """(F,) float64, seconds into the file: the times at which the frames are displayed."""
    sound: np.ndarray | None
    """(N,) float32 in [-1, 1], mono; sample 0 lies at the stretch's start."""
    sample_rate: int | None
    """Hertz of `sound`."""
    duration: float
    """Seconds of the stretch read."""
    problems: tuple[str, ...]
    """Plain sentences; empty for a sound file."""


def read_clip(
    path: Path | str,
    *,
    frames: int | None = None,
    short_side: int | None = None,
    sample_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    frame_choice: str = SLICE_CENTERS,
    also: Sequence[FrameSampling] = (),
    timeout: float = 300.0,
    max_packets: int | None = None,
) -> ClipMedia:
    """Read `frames` frames and the mono sound at `sample_rate` Hz of [start, end] seconds of a file.

    Either may be None, and is then not looked at. `short_side` is the length wished of the frames' shorter
    side in pixels; None leaves their size. Frame i is the one displayed at start + (i + 0.5) (end - start) /
    frames, unless `frame_choice` names another rule (media/frame_choice.py). `also` asks for further choices of
    frames, which are taken from the same pass over the file. A file that breaks off before its declared end is sampled
    over what is there, unless `end` was given.

    `timeout` is in seconds; `max_packets` bounds the packets read, passes over the file added up.

    Raises `MediaError` naming the file and the reason if nothing of what was asked for can be had.
    """
    path = Path(path)
    samplings = _samplings(frames, short_side, frame_choice, also)
    _check_request(path, samplings, sample_rate)
    first, last = stretch_of(path, start, end)
    deadline = Deadline(path, timeout, max_packets)
    try:
        return _Reading(path, samplings, sample_rate, first, last, deadline).run()
    except FFMPEG_ERRORS as error:
        raise MediaError(f"{path} cannot be read: {reason_of(error)}") from None


def _samplings(
    frames: int | None, short_side: int | None, frame_choice: str, also: Sequence[FrameSampling]
) -> tuple[FrameSampling, ...]:
    if frames is None:
        if also:
            raise InputError("further choices of frames are asked for, but not the first; give frames")
        return ()
    return FrameSampling(frames=frames, short_side=short_side, frame_choice=frame_choice), *also


def _check_request(path: Path, samplings: Sequence[FrameSampling], sample_rate: int | None) -> None:
    if not samplings and sample_rate is None:
        raise InputError(f"{path}: nothing is asked for; give frames, sample_rate, or both")
    values = [("sample_rate", sample_rate)]
    for sampling in samplings:
        values += [("frames", sampling.frames), ("short_side", sampling.short_side)]
        sample_times(0.0, 1.0, 1, sampling.frame_choice)  # refuses an unknown name
    for name, value in values:
        if value is not None and (not isinstance(value, Integral) or value < 1):
            raise InputError(f"{name} must be a whole number of 1 or more, not {value!r}")


class _Reading:
    """One reading of a clip: the request, and what is found out on the way."""

    def __init__(
        self,
        path: Path,
        samplings: Sequence[FrameSampling],
        sample_rate: int | None,
        first: float,
        last: float,
        deadline: Deadline,
    ) -> None:
        self.path, self.samplings, self.rate = path, samplings, sample_rate
        self.first, self.last, self.deadline = first, last, deadline
        self.problems: list[str] = []
        self.pictures: Pictures | None = None
        self.sound: Sound | None = None
        self._unread: InputContainer | None = None

    def run(self) -> ClipMedia:
        with open_media(self.path, self.deadline) as container:
            tracks = survey(container)
            # while the file is open: a track of a closed one lies in memory that was given back
            self.timeline = timeline_of(self.path, container, tracks, self.deadline)
            # of a file that ends early, `_breaks_off` says how far each track goes
            self.declared = max(self.timeline.duration, self.timeline.declared or 0.0)
            if self.declared == self.timeline.duration:
                self.problems += self.timeline.problems
            self._unread = container  # opening it again would cost time
            end = self._end()
            self._read(end)
        reached = self._breaks_off(end)
        if reached is not None:
            end = reached
            if self.pictures is not None:
                stale = self.pictures.problems
                self.problems = [problem for problem in self.problems if problem not in stale]
                self.pictures = self._try(self._pictures, end)
        return self._media(end)

    def _end(self) -> float:
        if self.declared and self.first >= self.declared:
            raise MediaError(
                f"{self.path}: start ({self.first:g} s) lies after the end ({self.declared:.3f} s)"
            )
        if self.last < float("inf") and self.last > self.declared + SHORT_BY:
            self.problems.append(
                f"the stretch asked for ends at {self.last:g} s, the file at {self.declared:.2f} s"
            )
        return min(self.last, self.declared)

    def _read(self, end: float) -> None:
        if self.samplings:
            self.pictures = self._try(self._pictures, end)
        if self.rate is not None:
            self.sound = self._try(self._sound, end)
        if self.pictures is None and self.sound is None:
            raise MediaError(f"{self.path}: nothing usable: {'; '.join(self.problems)}")

    def _try(self, read: Callable[[float], Part], end: float) -> Part | None:
        """What `read` gives, its problems noted; None and the reason among the problems if it cannot."""
        try:
            part = read(end)
        except MediaError as error:
            self.deadline.check()
            self._say(str(error))
            return None
        for problem in part.problems:
            self._say(problem)
        return part

    def _say(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _pictures(self, end: float) -> Pictures:
        opened, self._unread = self._unread, None
        return read_pictures(self.path, self._requests(end), self.deadline, self.timeline, opened=opened)

    def _requests(self, end: float) -> list[FrameRequest]:
        return [FrameRequest.of(sampling, self.first, end) for sampling in self.samplings]

    def _sound(self, end: float) -> Sound:
        # a file of one frame has no extent on the clock, but its sound may
        assert self.rate is not None  # no sound is asked for otherwise
        last = end if end > self.first else float("inf")
        return read_sound(self.path, self.first, last, self.rate, self.deadline, self.timeline)

    def _breaks_off(self, end: float) -> float | None:
        """Note tracks that end early; the new end if the whole file does and no end was asked for."""
        ends = []
        for name, part, track_ends in (
            ("picture", self.pictures, self.timeline.video_end),
            ("sound", self.sound, self.timeline.audio_end),
        ):
            if part is None:
                continue
            due = min(end, track_ends or end)
            ends.append(end if part.reached is None else part.reached)
            if ends[-1] < due - SHORT_BY:
                self._say(f"the {name} breaks off at {ends[-1]:.2f} s of {due:.2f} s")
        whole = max(ends)
        if self.last == float("inf") and whole < end - SHORT_BY and whole > self.first:
            return whole
        return None

    def _media(self, end: float) -> ClipMedia:
        pictures, sound = self.pictures, self.sound
        return ClipMedia(
            frames=None if pictures is None else pictures.frames[0],
            also=() if pictures is None else tuple(pictures.frames[1:]),
            frame_times=None if pictures is None else self._requests(end)[0].times,
            sound=None if sound is None else sound.samples,
            sample_rate=None if sound is None else self.rate,
            duration=end - self.first,
            problems=tuple(self.problems),
        )
