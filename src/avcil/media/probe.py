"""Properties of a media file; at most its first frame is decoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.media.container import (
    FFMPEG_ERRORS,
    Deadline,
    MediaError,
    PacketCounts,
    decoded,
    open_media,
    reason_of,
    stream_info,
)
from avcil.media.orientation import Orientation, display_matrix, orientation_of
from avcil.media.sizes import square_pixel_size
from avcil.media.timeline import DECLARED_TOLERANCE, timeline_of

_PROBE_PACKETS = 200
"""Maximum number of packets decoded to get the first frame, which has the display matrix."""
_MAX_FPS = 500
"""Higher rates are the time base of a container (Matroska: 1000), not a frame rate."""


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """Declared tracks of a file; decoding them may still fail."""

    container: str
    """Name of the format in FFmpeg, such as "mov,mp4,m4a,3gp,3g2,mj2"."""
    duration: float
    """Seconds."""
    declared: float | None
    """Seconds according to the header; None if the header does not declare it."""
    has_video: bool
    has_audio: bool
    width: int | None
    """Pixels of the displayed frame: upright, with square pixels."""
    height: int | None
    fps: float | None
    """Average frames per second; None if the file does not declare it."""
    rotation: int
    """Clockwise rotation for display in degrees: 0, 90, 180 or 270."""
    mirrored: bool
    """Whether the frame is mirrored left to right after the rotation."""
    sample_rate: int | None
    """Hz."""
    channels: int | None
    video_codec: str | None
    audio_codec: str | None
    problems: tuple[str, ...] = ()
    """Sentences about unusual durations and time stamps."""

    @property
    def is_truncated(self) -> bool:
        """Whether the file ends more than a second before the end that its header declares."""
        return self.declared is not None and self.duration < self.declared - DECLARED_TOLERANCE


def probe(path: Path | str, *, timeout: float = 60.0, max_packets: int | None = None) -> MediaInfo:
    """Read the properties of a media file.

    Args:
        path: The file.
        timeout: Seconds.
        max_packets: Maximum number of packets to read; None does not count them.

    Raises:
        MediaError: It is not a media file; the message has the path and the reason.
    """
    path = Path(path)
    deadline = Deadline(path, timeout, max_packets)
    try:
        return _probe(path, deadline)
    except FFMPEG_ERRORS as error:
        raise MediaError(f"{path} cannot be read: {reason_of(error)}") from None


def _probe(path: Path, deadline: Deadline) -> MediaInfo:
    with open_media(path, deadline) as container:
        tracks = stream_info(container)
        timeline = timeline_of(path, container, tracks, deadline)
        orientation = _orientation(container, tracks.video, deadline)
        properties = _video_properties(tracks.video, orientation) | _audio_properties(tracks.audio)
        name = container.format.name
    return MediaInfo(
        container=name,
        duration=timeline.duration,
        declared=timeline.declared,
        problems=timeline.problems,
        **properties,
    )


def _orientation(container: Any, track: Any, deadline: Deadline) -> Orientation:
    if track is None or track.codec_context is None:
        return Orientation()
    packets = itertools.islice(container.demux(track), _PROBE_PACKETS)
    for frames in decoded(packets, deadline, PacketCounts(kind="video")):
        for frame in frames:
            return orientation_of(display_matrix(frame))[0]
    return Orientation()


def _video_properties(track: Any, orientation: Orientation) -> dict[str, Any]:
    codec = None if track is None else track.codec_context
    size: tuple[int | None, int | None] = (None, None)
    if codec is not None and codec.width and codec.height:
        size = square_pixel_size(codec.width, codec.height, track.sample_aspect_ratio)
        size = size[::-1] if orientation.transpose else size
    rate = None if track is None else track.average_rate
    return {
        "has_video": track is not None,
        "width": size[0],
        "height": size[1],
        "fps": float(rate) if rate and rate <= _MAX_FPS else None,
        "rotation": orientation.rotation,
        "mirrored": orientation.mirrored,
        "video_codec": None if codec is None else codec.name,
    }


def _audio_properties(track: Any) -> dict[str, Any]:
    codec = None if track is None else track.codec_context
    return {
        "has_audio": track is not None,
        "sample_rate": (codec.sample_rate or None) if codec is not None else None,
        "channels": (codec.channels or None) if codec is not None else None,
        "audio_codec": None if codec is None else codec.name,
    }
