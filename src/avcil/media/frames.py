"""Reading video frames: for each of the given times, the frame displayed at that time.

Several requests, with other times or sizes, are served by one pass over the file.

Shapes: F times, H x W pixels; frames (F, H, W, 3) uint8 RGB. Times are in seconds from the start of the file.

The frame displayed at time t is the last one in display order whose time stamp is at most t; before the first frame it
is the first one. Other frames are decoded if later frames are predicted from them (skipping.py), but not converted to
RGB. Long distances are skipped by seeking to a key frame. A video is decoded by one thread, so that a damaged file
always gives the same frames; parallelism is over clips.

Frames are rotated and mirrored as the file requires, and have square pixels. Ten-bit frames are converted to eight
bits, transparency is dropped, and high dynamic range is not tone-mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer

from avcil.media.container import (
    FILE_ERRORS,
    TIME_TOLERANCE,
    CannotSeek,
    Deadline,
    MediaError,
    PacketCounts,
    decoded,
    open_media,
    seconds_of,
    stream_info,
    video_track,
)
from avcil.media.frame_buffer import FrameBuffers, FrameRequest, sorted_times
from avcil.media.skipping import CannotSkip, PacketSkipper
from avcil.media.timeline import Timeline

MIN_SEEK_DISTANCE = 10.0
"""Seconds to the next time from which seeking is faster than decoding everything (measured)."""
_MAX_GAP = 10.0
"""Seconds that a frame may be displayed beyond its duration without a note."""
CONCEALED_DAMAGE = "parts of the video are damaged; the decoder filled them in"


class DamagedVideo(Exception):
    """A decoder in strict mode found an error that it would otherwise conceal without a message."""


@dataclass(frozen=True, kw_only=True)
class VideoFrames:
    """Frames of a clip, and where its video track ends."""

    frames: list[np.ndarray]
    """(F, H, W, 3) uint8 RGB for each request."""
    track_end: float | None
    """Seconds at which the last frame ends; None if decoding did not reach the end of the track."""
    problems: tuple[str, ...]


def read_video_frames(
    path: Path,
    requests: Sequence[FrameRequest],
    deadline: Deadline,
    timeline: Timeline,
    *,
    opened: InputContainer | None = None,
) -> VideoFrames:
    """Read the frames of several requests in one pass.

    Args:
        path: The file.
        requests: Times and sizes of the frames.
        deadline: Limits of time and packets.
        timeline: Times of the file.
        opened: The newly opened file; it is closed here.

    Raises:
        MediaError: No frame can be read.
    """
    modes = {"seek": not timeline.has_offsets, "strict": True, "skip": True}
    while True:
        try:
            with opened or open_media(path, deadline) as container:
                return _read(container, requests, deadline, timeline, **modes)
        except CannotSeek:
            modes["seek"] = False
        except CannotSkip:
            modes["skip"] = False
        except DamagedVideo:  # also raised if a skipped frame was needed; concealment may use any frame
            modes["strict"], modes["skip"] = modes["skip"], False
        opened = None  # must be opened again


def _read(
    container: InputContainer,
    requests: Sequence[FrameRequest],
    deadline: Deadline,
    timeline: Timeline,
    *,
    seek: bool,
    strict: bool,
    skip: bool,
) -> VideoFrames:
    track = video_track(stream_info(container))
    ordered = sorted_times(requests)
    times = np.array([time for time, _, _ in ordered])
    skipper = PacketSkipper(track, timeline.origin, times) if skip and PacketSkipper.supports(track) else None
    reader = TrackReader(container, track, timeline, deadline, seek=seek, strict=strict, skipper=skipper)
    buffers = FrameBuffers(requests, track.sample_aspect_ratio)
    for position, (time, number, index) in enumerate(ordered):
        frame = reader.frame_at(time)
        if skipper is not None:
            skipper.check(position, frame)
        buffers.put(number, index, frame)
    problems = (*reader.problems(), *buffers.problems())
    if not (strict or problems or reader.did_seek):  # after seeking, reference frames may be missing
        problems = (CONCEALED_DAMAGE,)
    return VideoFrames(frames=buffers.frames, track_end=reader.track_end, problems=problems)


class TrackReader:
    """Reads a video track once, forward."""

    def __init__(
        self,
        container: Any,
        track: Any,
        timeline: Timeline,
        deadline: Deadline,
        *,
        seek: bool,
        strict: bool,
        skipper: PacketSkipper | None = None,
    ) -> None:
        self._container, self._track, self._deadline = container, track, deadline
        self._timeline, self._origin = timeline, timeline.origin
        self._frames_in_gap = 0
        self._seek, self._strict, self._skipper = seek, strict, skipper
        self._current: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None
        self._packets = PacketCounts(kind="video")
        self.track_end: float | None = None
        """Seconds at which the track ends, once known."""
        self.did_seek = False
        """Whether it used seeking."""
        # with several threads, concealment of damage differs between readings and is not always reported
        track.thread_type = "NONE"
        track.codec_context.thread_count = 1
        if strict:
            track.codec_context.options = {"err_detect": "explode"}
        self._frames = self._decode()

    def frame_at(self, time: float) -> Any:
        """The PyAV frame displayed at `time`; call with ascending times."""
        position = self._current[0] if self._current else 0.0
        if self._seek and time - position > MIN_SEEK_DISTANCE:
            self._seek_to(time, position)
        while self.track_end is None and (self._next is None or self._next[0] <= time + TIME_TOLERANCE):
            self._advance()
        if self._current is None:
            if self._next is None:
                raise MediaError(
                    f"the video track has no frame that can be decoded{self._packets.reason_suffix()}"
                )
            return self._next[1]
        begin, frame = self._current
        self._frames_in_gap += self._next is not None and time - begin > _MAX_GAP + _length(
            frame, self._track
        )
        return frame

    def _advance(self) -> None:
        if self._next is not None:
            self._current = self._next
        self._next = next(self._frames, None)
        if self._next is None:
            last = self._current
            self.track_end = 0.0 if last is None else last[0] + _length(last[1], self._track)

    def _seek_to(self, time: float, position: float) -> None:
        """Seek to the last key frame at or before `time`; no further seeking if that leads backwards."""
        try:
            self._container.seek(
                round((time + self._origin) / self._track.time_base), stream=self._track, backward=True
            )
        except FILE_ERRORS:
            raise CannotSeek from None
        self.did_seek = True
        self._current = self._next = None
        self._frames = self._decode()
        self._next = next(self._frames, None)
        if self._next is None or self._next[0] > time or not self._next[1].key_frame:
            raise CannotSeek
        self._seek = self._next[0] > position

    def _decode(self) -> Iterator[tuple[float, Any]]:
        """Decoded frames in display order with their times; packets that cannot be decoded are counted."""
        clock = _DisplayClock(self._track, self._origin)
        packets = self._timeline.packets(self._container, self._track)
        if self._skipper is not None:
            packets = self._skipper.packets(packets)
        for frames in decoded(packets, self._deadline, self._packets, fail=self._fail):
            if self._strict and any(frame.is_corrupt for frame in frames):
                raise DamagedVideo
            for frame in frames:
                yield clock.time_of(frame), frame

    def _fail(self, error: BaseException) -> None:
        if self._strict:
            raise DamagedVideo
        self._packets.fail(error)

    def problems(self) -> tuple[str, ...]:
        """Problems of the track, as sentences."""
        if not self._frames_in_gap:
            return self._packets.problems()
        gaps = (
            f"frames within a gap of the video: {self._frames_in_gap}; the last frame before the gap is used"
        )
        return (*self._packets.problems(), gaps)


class _DisplayClock:
    """Display times of decoded frames.

    Presentation time stamps are used unless they run backwards more often than decoding time stamps (AVI has only the
    latter). A frame without time stamps follows the previous one by the average frame duration.
    """

    def __init__(self, track: Any, origin: float) -> None:
        self._track, self._origin = track, origin
        self._out_of_order = {"pts": 0, "dts": 0}
        self._last = {"pts": None, "dts": None}
        self._now: float | None = None

    def time_of(self, frame: Any) -> float:
        """Seconds from the start of the file; times never decrease."""
        stamps = {"pts": frame.pts, "dts": frame.dts}
        for kind, stamp in stamps.items():
            if stamp is None:
                continue
            last = self._last[kind]
            self._out_of_order[kind] += last is not None and stamp <= last
            self._last[kind] = stamp
        stamp = stamps["pts"]
        if stamp is None or (
            self._out_of_order["pts"] > self._out_of_order["dts"] and stamps["dts"] is not None
        ):
            stamp = stamps["dts"]
        if stamp is None:
            now = 0.0 if self._now is None else self._now + _length(frame, self._track)
        else:
            now = seconds_of(stamp, frame.time_base or self._track.time_base) - self._origin
        self._now = now if self._now is None else max(now, self._now)
        return self._now


def _length(frame: Any, track: Any) -> float:
    """Duration of a frame in seconds: its own, else the average of the track, else 0."""
    rate = track.average_rate or track.guessed_rate
    average = 1.0 / float(rate) if rate else 0.0
    if frame.duration and frame.time_base:
        return max(float(frame.duration * frame.time_base), average)
    return average
