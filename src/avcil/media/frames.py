"""Frames of a stretch of a video: for each of given times the frame displayed at that time.

Several requests, for other times or another size, are served by one pass over the file.

Shapes: F times, H x W pixels; frames (F, H, W, 3) uint8 RGB. Times are seconds on the file's clock.

The frame displayed at time t is the last one, in the order of display, whose time stamp is at most t; before
the first frame it is the first, after the last frame it is the last. Frames that nobody asked for are decoded
(later ones need them) but never converted to RGB, and not even decoded where none needs them (skipping.py); far jumps
go over key frames. A video is decoded by one
thread, so that a damaged one gives the same frames every time; several clips are read at once instead.

Pictures are turned upright, mirrored as the file says, and brought to square pixels: things have the shape
that a person sees. Ten-bit pictures come out in eight bits, transparency is dropped, high dynamic range is
not tone-mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer

from avcil.media.canvas import Canvases, FrameRequest, in_order
from avcil.media.container import (
    FILE_ERRORS,
    SLACK,
    CannotSeek,
    Deadline,
    MediaError,
    Packets,
    open_media,
    seconds_of,
    survey,
)
from avcil.media.skipping import CannotSkip, Skipper
from avcil.media.timeline import Timeline

SEEK_AHEAD = 10.0
"""Seconds to the next time needed from which a jump over key frames beats decoding all between (measured)."""
HELD = 10.0
"""Seconds that a frame may stay on display longer than it lasts before this is noted."""
MENDED = "parts of the picture are damaged; the decoder filled them in"


class Damaged(Exception):
    """A decoder told to be strict met something that it would otherwise have mended in silence."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Frames of a clip, and how far its video track goes."""

    frames: list[np.ndarray]
    """(F, H, W, 3) uint8 RGB for each request."""
    reached: float | None
    """Seconds at which the last frame ends, where decoding came to the end of the track; else None."""
    problems: tuple[str, ...]


def read_pictures(
    path: Path,
    requests: Sequence[FrameRequest],
    deadline: Deadline,
    timeline: Timeline,
    *,
    opened: InputContainer | None = None,
) -> Pictures:
    """Read the frames of several requests in one pass.

    Args:
        path: The file.
        requests: Which frames are wanted.
        deadline: When to give up.
        timeline: The clock of the file.
        opened: The file, of which nothing was read yet; it is closed here.

    Raises:
        MediaError: With the reason if no frame can be had.
    """
    ways = {"seek": not timeline.is_joined, "strict": True, "skip": True}
    while True:
        try:
            with opened or open_media(path, deadline) as container:
                return _read(container, requests, deadline, timeline, **ways)
        except CannotSeek:
            ways["seek"] = False
        except CannotSkip:
            ways["skip"] = False
        except Damaged:  # or something that was left out is missed; and what is mended may lean on any frame
            ways["strict"], ways["skip"] = ways["skip"], False
        opened = None  # it was read from


def _read(
    container: InputContainer,
    requests: Sequence[FrameRequest],
    deadline: Deadline,
    timeline: Timeline,
    *,
    seek: bool,
    strict: bool,
    skip: bool,
) -> Pictures:
    tracks = survey(container)
    if tracks.video is None:
        raise MediaError("no video track")
    if tracks.video.codec_context is None:
        raise MediaError("the video track's codec is unknown to FFmpeg")
    moments = in_order(requests)
    times = np.array([moment for moment, _, _ in moments])
    skipper = Skipper(tracks.video, timeline.origin, times) if skip and Skipper.knows(tracks.video) else None
    reader = TrackReader(
        container, tracks.video, timeline, deadline, seek=seek, strict=strict, skipper=skipper
    )
    canvases = Canvases(requests, tracks.video.sample_aspect_ratio)
    for place, (moment, number, index) in enumerate(moments):
        frame = reader.frame_at(moment)
        if skipper is not None:
            skipper.check(place, frame)
        canvases.put(number, index, frame)
    problems = (*reader.problems(), *canvases.problems())
    if not (strict or problems or reader.jumped):  # behind a jump, frames may lack what they lean on
        problems = (MENDED,)
    return Pictures(frames=canvases.frames, reached=reader.reached, problems=problems)


class TrackReader:
    """Goes forward through a video track, once."""

    def __init__(
        self,
        container: Any,
        track: Any,
        timeline: Timeline,
        deadline: Deadline,
        *,
        seek: bool,
        strict: bool,
        skipper: Skipper | None = None,
    ) -> None:
        self._container, self._track, self._deadline = container, track, deadline
        self._timeline, self._origin = timeline, timeline.origin
        self._held = 0
        self._seek, self._strict, self._skipper = seek, strict, skipper
        self._shown: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None
        self._packets = Packets(kind="video")
        self.reached: float | None = None
        """Where the track ends, once that is known."""
        self.jumped = False
        """Whether it went over key frames."""
        # one thread: several fill in what is damaged differently at each reading, and do not always say so
        track.thread_type = "NONE"
        track.codec_context.thread_count = 1
        if strict:
            track.codec_context.options = {"err_detect": "explode"}
        self._frames = self._decode()

    def frame_at(self, moment: float) -> Any:
        """The PyAV frame displayed at `moment`; moments must ascend."""
        position = self._shown[0] if self._shown else 0.0
        if self._seek and moment - position > SEEK_AHEAD:
            self._jump(moment, position)
        while self.reached is None and (self._next is None or self._next[0] <= moment + SLACK):
            self._advance()
        if self._shown is None:
            if self._next is None:
                raise MediaError(f"the video track has no frame that can be decoded{self._packets.cause()}")
            return self._next[1]
        begin, frame = self._shown
        self._held += self._next is not None and moment - begin > HELD + _length(frame, self._track)
        return frame

    def _advance(self) -> None:
        if self._next is not None:
            self._shown = self._next
        self._next = next(self._frames, None)
        if self._next is None:
            last = self._shown
            self.reached = 0.0 if last is None else last[0] + _length(last[1], self._track)

    def _jump(self, moment: float, position: float) -> None:
        """Go to the last key frame at or before `moment`; give up jumping where that leads back."""
        try:
            self._container.seek(
                round((moment + self._origin) / self._track.time_base), stream=self._track, backward=True
            )
        except FILE_ERRORS:
            raise CannotSeek from None
        self.jumped = True
        self._shown = self._next = None
        self._frames = self._decode()
        self._next = next(self._frames, None)
        if self._next is None or self._next[0] > moment or not self._next[1].key_frame:
            raise CannotSeek
        self._seek = self._next[0] > position

    def _decode(self) -> Iterator[tuple[float, Any]]:
        """Frames in the order of display with their times; what cannot be decoded is counted and left out."""
        clock = DisplayClock(self._track, self._origin)
        packets = self._timeline.packets(self._container, self._track)
        if self._skipper is not None:
            packets = self._skipper.packets(packets)
        while True:
            self._deadline.check()
            try:
                packet = next(packets, None)
            except FILE_ERRORS as error:
                self._fail(error)
                return
            if packet is None:
                return
            self._packets.read += packet.size > 0
            try:
                frames = packet.decode()
            except FILE_ERRORS as error:
                if not isinstance(error, EOFError):
                    self._fail(error)
                continue
            if self._strict and any(frame.is_corrupt for frame in frames):
                raise Damaged
            for frame in frames:
                yield clock.time_of(frame), frame

    def _fail(self, error: BaseException) -> None:
        if self._strict:
            raise Damaged
        self._packets.fail(error)

    def problems(self) -> tuple[str, ...]:
        """What went wrong on the way."""
        if not self._held:
            return self._packets.problems()
        held = (
            f"frames that fall into a gap of the picture: {self._held}; they show the last picture before it"
        )
        return (*self._packets.problems(), held)


class DisplayClock:
    """The time at which a decoded frame is shown.

    Time stamps of presentation are taken unless they run backwards more often than those of decoding do (AVI
    stores only the latter); a frame without any follows the one before by the average frame time.
    """

    def __init__(self, track: Any, origin: float) -> None:
        self._track, self._origin = track, origin
        self._faults = {"pts": 0, "dts": 0}
        self._last = {"pts": None, "dts": None}
        self._now: float | None = None

    def time_of(self, frame: Any) -> float:
        """Seconds on the file's clock; never before the frame that came last."""
        stamps = {"pts": frame.pts, "dts": frame.dts}
        for kind, stamp in stamps.items():
            if stamp is None:
                continue
            last = self._last[kind]
            self._faults[kind] += last is not None and stamp <= last
            self._last[kind] = stamp
        stamp = stamps["pts"]
        if stamp is None or (self._faults["pts"] > self._faults["dts"] and stamps["dts"] is not None):
            stamp = stamps["dts"]
        if stamp is None:
            now = 0.0 if self._now is None else self._now + _length(frame, self._track)
        else:
            now = seconds_of(stamp, frame.time_base or self._track.time_base) - self._origin
        self._now = now if self._now is None else max(now, self._now)
        return self._now


def _length(frame: Any, track: Any) -> float:
    """Seconds for which a frame stays on the screen: its own, else the track's average, else 0."""
    rate = track.average_rate or track.guessed_rate
    average = 1.0 / float(rate) if rate else 0.0
    if frame.duration and frame.time_base:
        return max(float(frame.duration * frame.time_base), average)
    return average
