"""Reading one clip: frames and audio of a segment of a file, and reasons for what cannot be read.

Shapes: F frames of H x W pixels, N audio samples.
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
from avcil.media.audio import DecodedAudio, read_audio
from avcil.media.container import (
    FFMPEG_ERRORS,
    Deadline,
    MediaError,
    check_segment,
    open_media,
    reason_of,
    stream_info,
)
from avcil.media.frame_choice import SLICE_CENTERS, sample_times
from avcil.media.frames import FrameRequest, VideoFrames, read_video_frames
from avcil.media.timeline import END_TOLERANCE, timeline_of
from avcil.utils.frame_sampling import FrameSampling

Part = TypeVar("Part", VideoFrames, DecodedAudio)


@dataclass(frozen=True, kw_only=True)
class ClipMedia:
    """Frames and audio of a clip; None for what cannot be read, with the reason in `problems`."""

    frames: np.ndarray | None
    """(F, H, W, 3) uint8 RGB, upright, square pixels."""
    extra_frames: tuple[np.ndarray, ...]
    """Frames of the additional samplings; empty if `frames` is None."""
    frame_times: np.ndarray | None
    """(F,) float64: display times in seconds from the start of the file."""
    waveform: np.ndarray | None
    """(N,) float32 in [-1, 1], mono; sample 0 is at the start of the segment."""
    sample_rate: int | None
    """Sample rate of `waveform` in Hz."""
    duration: float
    """Length of the segment in seconds."""
    problems: tuple[str, ...]
    """Sentences; empty for an intact file."""


def read_clip(
    path: Path | str,
    *,
    frames: int | None = None,
    short_side: int | None = None,
    sample_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    frame_choice: str = SLICE_CENTERS,
    extra_samplings: Sequence[FrameSampling] = (),
    timeout: float = 300.0,
    max_packets: int | None = None,
) -> ClipMedia:
    """Read frames and mono audio of a segment of a file.

    A truncated file is sampled up to its actual end, unless `end` is given.

    Args:
        path: The file.
        frames: F; None reads no frames.
        short_side: Pixels of the frames' shorter side; None keeps the original size.
        sample_rate: Sample rate of the audio in Hz; None reads no audio.
        start: Start of the segment in seconds; None is the start of the file.
        end: End of the segment in seconds; None is the end of the file.
        frame_choice: The rule for the frame times (`media.frame_choice`); by default, frame i is the one displayed at
            start + (i + 0.5) (end - start) / F.
        extra_samplings: Additional samplings of frames, read in the same pass over the file.
        timeout: Seconds.
        max_packets: Maximum number of packets to read, including repeated passes over the file.

    Raises:
        MediaError: Nothing of what was requested can be read; the message has the file and the reason.
    """
    path = Path(path)
    samplings = _samplings(frames, short_side, frame_choice, extra_samplings)
    _check_request(path, samplings, sample_rate)
    first, last = check_segment(path, start, end)
    deadline = Deadline(path, timeout, max_packets)
    try:
        return _Reading(path, samplings, sample_rate, first, last, deadline).run()
    except FFMPEG_ERRORS as error:
        raise MediaError(f"{path} cannot be read: {reason_of(error)}") from None


def _samplings(
    frames: int | None, short_side: int | None, frame_choice: str, extra_samplings: Sequence[FrameSampling]
) -> tuple[FrameSampling, ...]:
    if frames is None:
        if extra_samplings:
            raise InputError("`extra_samplings` needs `frames`")
        return ()
    return FrameSampling(frames=frames, short_side=short_side, frame_choice=frame_choice), *extra_samplings


def _check_request(path: Path, samplings: Sequence[FrameSampling], sample_rate: int | None) -> None:
    if not samplings and sample_rate is None:
        raise InputError(f"{path}: nothing to read; give frames, sample_rate, or both")
    values = [("sample_rate", sample_rate)]
    for sampling in samplings:
        values += [("frames", sampling.frames), ("short_side", sampling.short_side)]
        sample_times(0.0, 1.0, 1, sampling.frame_choice)  # rejects an unknown name
    for name, value in values:
        if value is not None and (not isinstance(value, Integral) or value < 1):
            raise InputError(f"{name} must be a whole number of 1 or more, not {value!r}")


class _Reading:
    """The state of reading one clip."""

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
        self.video: VideoFrames | None = None
        self.audio: DecodedAudio | None = None
        self._unread: InputContainer | None = None

    def run(self) -> ClipMedia:
        with open_media(self.path, self.deadline) as container:
            tracks = stream_info(container)
            # while the file is open: the tracks of a closed file point to freed memory
            self.timeline = timeline_of(self.path, container, tracks, self.deadline)
            # for a truncated file, `_truncated_at` reports the end of each track
            self.declared = max(self.timeline.duration, self.timeline.declared or 0.0)
            if self.declared == self.timeline.duration:
                self.problems += self.timeline.problems
            self._unread = container  # avoids opening it again
            end = self._end()
            self._read(end)
        reached = self._truncated_at(end)
        if reached is not None:
            end = reached
            if self.video is not None:
                stale = self.video.problems
                self.problems = [problem for problem in self.problems if problem not in stale]
                self.video = self._try(self._read_video, end)
        return self._media(end)

    def _end(self) -> float:
        if self.declared and self.first >= self.declared:
            raise MediaError(
                f"{self.path}: start ({self.first:g} s) is after the end ({self.declared:.3f} s)"
            )
        if self.last < float("inf") and self.last > self.declared + END_TOLERANCE:
            self.problems.append(f"the segment ends at {self.last:g} s, the file at {self.declared:.2f} s")
        return min(self.last, self.declared)

    def _read(self, end: float) -> None:
        if self.samplings:
            self.video = self._try(self._read_video, end)
        if self.rate is not None:
            self.audio = self._try(self._read_audio, end)
        if self.video is None and self.audio is None:
            raise MediaError(f"{self.path}: nothing usable: {'; '.join(self.problems)}")

    def _try(self, read: Callable[[float], Part], end: float) -> Part | None:
        """The result of `read`; None if it fails. Problems and the reason are recorded."""
        try:
            part = read(end)
        except MediaError as error:
            self.deadline.check()
            self._add_problem(str(error))
            return None
        for problem in part.problems:
            self._add_problem(problem)
        return part

    def _add_problem(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _read_video(self, end: float) -> VideoFrames:
        opened, self._unread = self._unread, None
        return read_video_frames(self.path, self._requests(end), self.deadline, self.timeline, opened=opened)

    def _requests(self, end: float) -> list[FrameRequest]:
        return [FrameRequest.of(sampling, self.first, end) for sampling in self.samplings]

    def _read_audio(self, end: float) -> DecodedAudio:
        assert self.rate is not None
        # a file with a single frame has zero duration, but its audio may not
        last = end if end > self.first else float("inf")
        return read_audio(self.path, self.first, last, self.rate, self.deadline, self.timeline)

    def _truncated_at(self, end: float) -> float | None:
        """Report tracks that end early. Returns the new end if all tracks do and no end was requested."""
        ends = []
        for name, part, track_ends in (
            ("video", self.video, self.timeline.video_end),
            ("audio", self.audio, self.timeline.audio_end),
        ):
            if part is None:
                continue
            due = min(end, track_ends or end)
            ends.append(end if part.track_end is None else part.track_end)
            if ends[-1] < due - END_TOLERANCE:
                self._add_problem(f"the {name} track ends at {ends[-1]:.2f} s of {due:.2f} s")
        longest = max(ends)
        if self.last == float("inf") and longest < end - END_TOLERANCE and longest > self.first:
            return longest
        return None

    def _media(self, end: float) -> ClipMedia:
        video, audio = self.video, self.audio
        return ClipMedia(
            frames=None if video is None else video.frames[0],
            extra_frames=() if video is None else tuple(video.frames[1:]),
            frame_times=None if video is None else self._requests(end)[0].times,
            waveform=None if audio is None else audio.samples,
            sample_rate=None if audio is None else self.rate,
            duration=end - self.first,
            problems=tuple(self.problems),
        )
