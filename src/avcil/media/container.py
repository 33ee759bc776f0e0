"""Opening media files safely: one door to PyAV, with plain words for everything that can be wrong.

The clock of a file: second 0 is where its earliest track starts (FFmpeg's `start_time`), for picture and
sound alike, so that both stay aligned whatever edit lists and time stamps the file carries.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Iterator
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

OLDEST_PYAV, NEXT_PYAV = (18, 1), (19, 0)
"""Versions of PyAV that this package was tested with: from the first, and before the second."""
MAX_PIXELS = 8192 * 8192
"""The largest stored picture that is decoded; a few hundred bytes can claim more than any memory holds."""
SLACK = 1e-6
"""Seconds within which two times are the same: FFmpeg rounds the start of a file to a microsecond."""
FFMPEG_ERRORS = (av.error.FFmpegError, OSError, MemoryError)
"""What can only come from FFmpeg or the machine: never an error of this program."""
FILE_ERRORS = (*FFMPEG_ERRORS, ValueError, ArithmeticError)
"""What PyAV raises on damaged files. Caught around single calls of PyAV only, so that no error of this program, and no
call that an unsupported version of PyAV rejects (TypeError, AttributeError), is taken for a damaged file."""
PROGRAM_ERRORS = (TypeError, AttributeError, NameError, ImportError)
"""What a mistake in a program raises, or a call that an unsupported version of a library rejects; no file does."""
NOT_CLIPS = {
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
"""FFmpeg's formats that are no recording of their own, though it would draw or follow them."""
NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails


def check_pyav(version: str) -> None:
    """Raise `AvcilError` if this version of PyAV is not supported: arguments may be missing, or mean something else."""
    installed = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if not OLDEST_PYAV <= installed < NEXT_PYAV:
        oldest, following = (".".join(map(str, bound)) for bound in (OLDEST_PYAV, NEXT_PYAV))
        raise AvcilError(
            f"PyAV {version} is installed, which avcil does not support; it needs {oldest} or later and less than "
            f"{following}. Run: pip install 'av>={oldest},<{following}'"
        )


check_pyav(av.__version__)
av.logging.set_level(None)  # FFmpeg's remarks go to `problems` as words, not to the terminal


class CannotSeek(Exception):
    """A jump landed behind its aim: the file's index is wrong, so everything must be decoded in order."""


class MediaError(InputError):
    """A file from which nothing asked for can be had; the message names the file and the reason."""


class ProgramError(AvcilError):
    """Reading failed for a reason that lies in the program, so that other files would fail as well."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"reading {path} failed with {what}. This is an error of avcil or of the installed version of a library, "
            "not of the file; `avcil doctor` checks the versions"
        )


class Deadline:
    """The time and the number of packets after which work on a file is given up."""

    def __init__(self, path: Path, seconds: float, max_packets: int | None = None) -> None:
        if not seconds > 0:
            raise InputError(f"timeout must be seconds above 0, not {seconds!r}")
        self.path, self.seconds = path, seconds
        self._max_packets, self._checks = max_packets, 0
        self._moment = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, never quite 0."""
        return max(self._moment - time.monotonic(), 0.01)

    def check(self) -> None:
        """Raise `MediaError` once the time is over; called before each packet, so that calls count packets."""
        self._checks += 1
        if self._max_packets is not None and self._checks > self._max_packets:
            raise MediaError(
                f"{self.path}: gave up after {self._max_packets} packets; give a shorter stretch or file"
            )
        if time.monotonic() > self._moment:
            raise MediaError(
                f"{self.path}: gave up after {self.seconds:g} s; give a shorter stretch (start, end) "
                "or more time (timeout, --clip-seconds)"
            )


def reason_of(error: BaseException) -> str:
    """An error of PyAV in a few plain words."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:].rstrip(".")


@dataclass(kw_only=True)
class Packets:
    """What became of the packets of a track."""

    kind: str
    """video or audio"""
    read: int = 0
    failed: int = 0
    why: str = ""
    """The reason of the last one that failed."""

    def fail(self, error: BaseException) -> None:
        self.failed, self.why = self.failed + 1, reason_of(error)

    def cause(self) -> str:
        """Why nothing came of them, to be put behind a sentence."""
        if self.failed:
            return f": {self.why}"
        return ": it holds no data" if not self.read else ""

    def problems(self) -> tuple[str, ...]:
        if not self.failed:
            return ()
        return (f"{self.failed} of {self.read} {self.kind} packets read could not be decoded: {self.why}",)


@contextlib.contextmanager
def open_media(path: Path, deadline: Deadline) -> Iterator[InputContainer]:
    """Open a media file for reading and close it whatever happens; raises `MediaError` with the reason.

    Only regular files are opened, and they can make FFmpeg read nothing but files (no network).
    """
    check_file(path)
    options = {"max_pixels": str(MAX_PIXELS), "protocol_whitelist": "file"}
    try:
        container = av.open(
            f"file:{os.path.abspath(path)}",
            options=options,
            metadata_errors="replace",
            timeout=deadline.left(),
        )
    except FILE_ERRORS as error:
        deadline.check()
        raise MediaError(f"{path} is not a media file that can be read: {reason_of(error)}") from None
    with container:
        name = container.format.name
        if name in NOT_CLIPS:
            raise MediaError(f"{path} is {NOT_CLIPS[name]}, not a recording")
        yield container


def check_file(path: Path) -> None:
    """Refuse what is no readable file, in words: missing, a folder, a device, empty, forbidden."""
    try:
        if not path.exists():
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
            # FFmpeg would wait for the next part of a broadcast for as long as it is let
            raise MediaError(f"{path} is a playlist, not a recording")
    except (OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path} cannot be read: {reason_of(error)}") from None


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What a container says of itself before anything is decoded; its tracks live as long as it is open."""

    origin: float
    """The container's time stamp, in seconds, of second 0 of the file's clock."""
    duration: float | None
    """Seconds; None where the container does not say."""
    video: Any
    """The PyAV stream of the picture; None if there is none."""
    audio: Any
    """The PyAV stream of the sound; None if there is none."""


def survey(container: InputContainer) -> StreamInfo:
    """Find the tracks and the clock of an open container."""
    duration = container.duration
    return StreamInfo(
        origin=(container.start_time or 0) / av.time_base,
        duration=duration / av.time_base if duration is not None and duration > 0 else None,
        video=_best_track(container, "video"),
        audio=_best_track(container, "audio"),
    )


def _best_track(container: InputContainer, kind: Literal["video", "audio"]) -> Any:
    """FFmpeg's choice among several tracks; cover pictures of sound files are no video."""
    tracks = [track for track in getattr(container.streams, kind) if not track.disposition & NOT_VIDEO]
    best = container.streams.best(kind)
    if best in tracks:
        return best
    return tracks[0] if tracks else None


def seconds_of(stamp: int, base: Fraction) -> float:
    """A time stamp in seconds: as `float(stamp * base)`, which takes ten times as long."""
    return stamp * base.numerator / base.denominator


def stretch_of(path: Path, start: float | None, end: float | None) -> tuple[float, float]:
    """`start` and `end` checked, in seconds; an open end is infinity."""
    first, last = 0.0 if start is None else float(start), math.inf if end is None else float(end)
    if not (math.isfinite(first) and first >= 0 and last > first):
        raise InputError(
            f"{path}: start and end must be seconds with 0 <= start < end, not {start!r} and {end!r}"
        )
    return first, last
