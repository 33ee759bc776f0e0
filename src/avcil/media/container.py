"""Opening media files safely with PyAV, and error messages for damaged files.

Time in a file: second 0 is the start of its earliest track (FFmpeg's `start_time`), for video and audio alike. So both
stay aligned whatever edit lists and time stamps the file has.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import av.logging
from av.container import InputContainer
from av.stream import Disposition

from avcil.errors import AvcilError, InputError

_MIN_PYAV, _MAX_PYAV = (18, 1), (19, 0)
"""Supported versions of PyAV: from the first (inclusive) to the second (exclusive)."""
MAX_PIXELS = 8192 * 8192
"""Maximum size of a frame. A file of a few hundred bytes can declare frames larger than memory."""
TIME_TOLERANCE = 1e-6
"""Tolerance in seconds: FFmpeg rounds the start of a file to a microsecond."""
FFMPEG_ERRORS = (av.error.FFmpegError, OSError, MemoryError)
"""Errors that come from FFmpeg or the system, never from an error in this program."""
FILE_ERRORS = (*FFMPEG_ERRORS, ValueError, ArithmeticError)
"""Errors that PyAV raises for damaged files. They are caught around single calls of PyAV only. TypeError and
AttributeError are not included: they are errors of this program or of an unsupported version of PyAV."""
PROGRAM_ERRORS = (TypeError, AttributeError, NameError, ImportError)
"""Errors of the program, or of an unsupported version of a library; a file never causes them."""
_UNSUPPORTED_FORMATS = {
    "tty": "text",
    "bin": "text art",
    "adf": "text art",
    "idf": "text art",
    "xbin": "text art",
    "hls": "a playlist",
    "concat": "a playlist",
    "dash": "a playlist",
    "sdp": "a network session",
}
"""Formats of FFmpeg that are not recordings: text that it would render, and references that it would follow."""
_NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails


def check_pyav(version: str) -> None:
    """Raise `AvcilError` if this version of PyAV is not supported."""
    installed = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if not _MIN_PYAV <= installed < _MAX_PYAV:
        oldest, following = (".".join(map(str, bound)) for bound in (_MIN_PYAV, _MAX_PYAV))
        raise AvcilError(
            f"PyAV {version} is installed, which avcil does not support; it needs {oldest} or later and less than "
            f"{following}. Run: pip install 'av>={oldest},<{following}'"
        )


check_pyav(av.__version__)
av.logging.set_level(None)  # messages of FFmpeg go to `problems`, not to the terminal


class CannotSeek(Exception):
    """Seeking went past its target: the file's index is wrong, so everything must be decoded in order."""


class MediaError(InputError):
    """Nothing of what was requested can be read from a file; the message has the file and the reason."""


class ProgramError(AvcilError):
    """Reading failed because of an error in the program; other files would fail as well."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"reading {path} failed with {what}. This is an error of avcil or of the installed version of a library, "
            "not of the file; `avcil doctor` checks the versions"
        )


def unexpected_reason(error: Exception, path: Path) -> str:
    """An unexpected error of a damaged file, as text to list; raises `ProgramError` for an error in the program."""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, PROGRAM_ERRORS):
        raise ProgramError(path, reason) from error
    return reason


class Deadline:
    """Limits of the time and the number of packets for one file."""

    def __init__(self, path: Path, seconds: float, max_packets: int | None = None) -> None:
        if not seconds > 0:
            raise InputError(f"timeout must be seconds above 0, not {seconds!r}")
        self.path, self.seconds = path, seconds
        self._max_packets, self._packets = max_packets, 0
        self._end_time = time.monotonic() + seconds

    def remaining(self) -> float:
        """Remaining seconds, always above 0."""
        return max(self._end_time - time.monotonic(), 0.01)

    def check(self) -> None:
        """Raise `MediaError` if a limit is exceeded. Called once before each packet."""
        self._packets += 1
        if self._max_packets is not None and self._packets > self._max_packets:
            raise MediaError(
                f"{self.path}: reading was stopped after {self._max_packets} packets; use a shorter segment or file"
            )
        if time.monotonic() > self._end_time:
            raise MediaError(
                f"{self.path}: reading was stopped after {self.seconds:g} s; give a shorter segment (start, end) "
                "or more time (timeout, --clip-seconds)"
            )


def reason_of(error: BaseException) -> str:
    """An error of PyAV in a few plain words."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:].rstrip(".")


@dataclass(kw_only=True)
class PacketCounts:
    """Counts of the packets of a track."""

    kind: str
    """video or audio"""
    read: int = 0
    failed: int = 0
    reason: str = ""
    """Reason of the last failure."""

    def fail(self, error: BaseException) -> None:
        self.failed, self.reason = self.failed + 1, reason_of(error)

    def reason_suffix(self) -> str:
        """Why no packet could be decoded: a suffix for an error message."""
        if self.failed:
            return f": {self.reason}"
        return ": it contains no data" if not self.read else ""

    def problems(self) -> tuple[str, ...]:
        if not self.failed:
            return ()
        return (f"{self.failed} of {self.read} {self.kind} packets read could not be decoded: {self.reason}",)


def decoded(
    packets: Iterator[Any],
    deadline: Deadline,
    counts: PacketCounts,
    *,
    fail: Callable[[BaseException], None] | None = None,
) -> Iterator[list[Any]]:
    """The frames of each packet that can be decoded.

    Args:
        packets: Packets of one track in order. If they cannot be read further, they end.
        deadline: Checked before each packet.
        counts: Counts the packets.
        fail: Called with each error; by default, `counts.fail`.
    """
    fail = fail or counts.fail
    while True:
        deadline.check()
        try:
            packet = next(packets, None)
        except FILE_ERRORS as error:
            fail(error)
            return
        if packet is None:
            return
        counts.read += packet.size > 0
        try:
            frames = packet.decode()
        except FILE_ERRORS as error:
            if not isinstance(error, EOFError):
                fail(error)
            continue
        yield frames


@contextlib.contextmanager
def open_media(path: Path, deadline: Deadline) -> Iterator[InputContainer]:
    """Open a media file for reading; `MediaError` with the reason if that fails.

    Only regular files are opened. They cannot make FFmpeg access the network.
    """
    _check_file(path)
    options = {"max_pixels": str(MAX_PIXELS), "protocol_whitelist": "file"}
    try:
        container = av.open(
            f"file:{os.path.abspath(path)}",
            options=options,
            metadata_errors="replace",
            timeout=deadline.remaining(),
        )
    except FILE_ERRORS as error:
        deadline.check()
        raise MediaError(f"{path} is not a media file that can be read: {reason_of(error)}") from None
    with container:
        name = container.format.name
        if name in _UNSUPPORTED_FORMATS:
            raise MediaError(f"{path} is {_UNSUPPORTED_FORMATS[name]}, not a recording")
        yield container


def _check_file(path: Path) -> None:
    """Raise `MediaError` unless the path is a readable, non-empty regular file."""
    try:
        if not path.exists():
            if path.is_symlink():
                raise MediaError(f"{path} is a link to a file that does not exist")
            raise MediaError(f"there is no file {path}")
        if path.is_dir():
            raise MediaError(f"{path} is a folder, not a media file")
        if not path.is_file():
            raise MediaError(f"{path} is not a regular file")
        with open(path, "rb") as file:
            head = file.read(64)
        if not head:
            raise MediaError(f"{path} is empty (0 bytes)")
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"#EXTM3U"):
            # FFmpeg would wait for the next part of a live stream until the timeout
            raise MediaError(f"{path} is a playlist, not a recording")
    except (OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path} cannot be read: {reason_of(error)}") from None


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """Tracks and times from the headers of a container; the tracks are valid while it is open."""

    origin: float
    """Time stamp of the file's second 0, in seconds."""
    duration: float | None
    """Seconds; None if the container does not declare it."""
    video: Any
    """The PyAV video stream; None if there is none."""
    audio: Any
    """The PyAV audio stream; None if there is none."""


def stream_info(container: InputContainer) -> StreamInfo:
    """The `StreamInfo` of an open container."""
    duration = container.duration
    return StreamInfo(
        origin=(container.start_time or 0) / av.time_base,
        duration=duration / av.time_base if duration is not None and duration > 0 else None,
        video=_best_track(container, "video"),
        audio=_best_track(container, "audio"),
    )


def _best_track(container: InputContainer, kind: Literal["video", "audio"]) -> Any:
    """The track that FFmpeg selects; cover images of audio files do not count as video."""
    tracks = [track for track in getattr(container.streams, kind) if not track.disposition & _NOT_VIDEO]
    best = container.streams.best(kind)
    if best in tracks:
        return best
    return tracks[0] if tracks else None


def video_track(tracks: StreamInfo) -> Any:
    """The video track; `MediaError` if there is none, or if FFmpeg cannot decode it."""
    if tracks.video is None:
        raise MediaError("no video track")
    if tracks.video.codec_context is None:
        raise MediaError("the video track's codec is unknown to FFmpeg")
    return tracks.video


def seconds_of(stamp: int, base: Fraction) -> float:
    """A time stamp in seconds, ten times as fast as `float(stamp * base)`."""
    return stamp * base.numerator / base.denominator


def check_segment(path: Path, start: float | None, end: float | None) -> tuple[float, float]:
    """The start and end in seconds, infinity for an open end; InputError unless 0 <= start < end."""
    first, last = 0.0 if start is None else float(start), math.inf if end is None else float(end)
    if not (math.isfinite(first) and first >= 0 and last > first):
        raise InputError(
            f"{path}: start and end must be seconds with 0 <= start < end, not {start!r} and {end!r}"
        )
    return first, last
