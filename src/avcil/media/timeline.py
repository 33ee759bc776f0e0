"""Durations of tracks, and discontinuities of time stamps.

MP4, QuickTime and AVI files have an index of all packets; their declared duration is used if the index confirms it. For
some other containers, the declared duration is confirmed by reading the last packets. All other formats (ADTS AAC, MP3,
raw streams, MPEG-TS, Ogg, ...) have no index: FFmpeg estimates the duration from the bit rate or from the first and
last time stamps, which can be wrong by minutes. For these, all packets are read without decoding.

Concatenated recordings have discontinuous time stamps. As in ffmpeg (`-dts_delta_threshold`), one offset is added to
the time stamps of all tracks after a discontinuity, so that audio and video stay aligned.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from avcil.media.container import (
    FILE_ERRORS,
    Deadline,
    StreamInfo,
    open_media,
    seconds_of,
    stream_info,
)
from avcil.media.packet_scan import PacketScan, display_stamp

END_TOLERANCE = 0.5
"""Seconds by which a track may end early without a note, since headers round durations."""
DECLARED_TOLERANCE = 1.0
"""Tolerance in seconds for durations that a header declares."""
_ESTIMATED_TOLERANCE = 0.1
"""Tolerance in seconds for estimated durations, which may not include padding."""
_INDEXED_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi"})
"""Formats whose index of all packets is read when a file is opened."""
_DECLARED_FORMATS = frozenset(
    {"matroska,webm", "asf", "mxf", "wav", "w64", "aiff", "au", "caf", "nut", "rm", "yuv4mpegpipe"}
)
"""Formats with a declared duration and fast seeking, so that the end can be checked."""
_CACHE_SIZE = 32
"""Number of cached timelines: many clips may be segments of the same file."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Times of a file, in seconds from the start of its earliest track."""

    origin: float
    """Time stamp of second 0, in seconds."""
    duration: float
    """Seconds."""
    declared: float | None
    """Seconds according to the header; None if the header does not declare or only estimates it."""
    video_end: float | None
    """Seconds at which the video track ends; None if unknown."""
    audio_end: float | None
    offsets: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """By track index: pairs of a packet number (from 0) and the ticks to add to time stamps from that packet on."""
    problems: tuple[str, ...] = ()
    """Sentences about unusual durations and time stamps."""

    def packets(self, container: InputContainer, track: Any) -> Iterator[Any]:
        """The packets of a track of a newly opened container, with joined time stamps."""
        packets = container.demux(track)
        return _shifted(packets, self.offsets[track.index]) if self.has_offsets else packets

    @property
    def has_offsets(self) -> bool:
        """Whether offsets are added to time stamps; seeking is then not possible."""
        return bool(self.offsets)


def _shifted(packets: Iterator[Any], offsets: tuple[tuple[int, int], ...]) -> Iterator[Any]:
    later = iter((*offsets, None))
    offset, change = 0, next(later)
    for number, packet in enumerate(packets):
        while change is not None and number >= change[0]:
            offset, change = change[1], next(later)
        shown = display_stamp(packet)
        packet.pts = None if shown is None else shown + offset
        if packet.dts is not None:
            packet.dts += offset
        yield packet


def timeline_of(path: Path, container: InputContainer, tracks: StreamInfo, deadline: Deadline) -> Timeline:
    """The timeline of an open container. It is not read from: `path` is opened again to read packets."""
    header = Timeline(
        origin=tracks.origin,
        duration=tracks.duration or 0.0,
        declared=tracks.duration,
        video_end=_track_end(tracks.video, tracks.origin),
        audio_end=_track_end(tracks.audio, tracks.origin),
    )
    if (
        tracks.duration
        and container.format.name in _INDEXED_FORMATS
        and _index_reaches_end(container, tracks)
    ):
        return header
    return _measured(path, container.format.name, header, deadline)


def _track_end(track: Any, origin: float) -> float | None:
    """Seconds from the start of the file at which a track ends according to its header; None if not declared."""
    if track is None or track.duration is None or track.time_base is None:
        return None
    return seconds_of(track.duration + (track.start_time or 0), track.time_base) - origin


def _index_reaches_end(container: InputContainer, tracks: StreamInfo) -> bool:
    """Whether the index covers the declared duration, and the file contains the last packets."""
    reached = []
    for track in (tracks.video, tracks.audio):
        if track is not None and len(track.index_entries):
            last = track.index_entries[len(track.index_entries) - 1]
            if last.pos + last.size > container.size:
                return False
            reached.append(seconds_of(last.timestamp, track.time_base) - tracks.origin)
    if not reached or tracks.duration is None:
        return False
    return max(reached) >= tracks.duration - DECLARED_TOLERANCE


_cache: OrderedDict[tuple[Any, ...], Timeline] = OrderedDict()


def _measured(path: Path, format_name: str, header: Timeline, deadline: Deadline) -> Timeline:
    status = os.stat(path)
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    timeline = _cache.get(key)
    if timeline is None:
        confirmed = format_name in _DECLARED_FORMATS and _end_is_declared(path, header, deadline)
        timeline = _cache[key] = header if confirmed else _scanned(path, format_name, header, deadline)
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return timeline


def _end_is_declared(path: Path, header: Timeline, deadline: Deadline) -> bool:
    """Whether the last packets end at the declared duration; False also if seeking fails."""
    if not header.duration:
        return False
    with open_media(path, deadline) as container:
        target = max(0.0, header.duration - DECLARED_TOLERANCE) + header.origin
        try:
            container.seek(round(target * av.time_base))
        except FILE_ERRORS:
            return False
        scan = PacketScan(container, deadline, detect_jumps=False)
    return abs(scan.end() - header.origin - header.duration) <= DECLARED_TOLERANCE


def _scanned(path: Path, format_name: str, header: Timeline, deadline: Deadline) -> Timeline:
    with open_media(path, deadline) as container:
        tracks = stream_info(container)
        scan = PacketScan(
            container, deadline, detect_jumps=format_name not in _INDEXED_FORMATS | _DECLARED_FORMATS
        )
        used = (tracks.video, tracks.audio)
        ends = [None if track is None else scan.end(track) - header.origin for track in used]
    duration = max(0.0, scan.end() - header.origin)
    known = header.declared if format_name in _INDEXED_FORMATS | _DECLARED_FORMATS else None
    if header.duration and not scan.jumps:
        if not duration and known is None:  # packets without time stamps
            return header
        if abs(duration - header.duration) <= (_ESTIMATED_TOLERANCE if known is None else DECLARED_TOLERANCE):
            return header
    problems = _jump_problems(scan)
    if known is not None:
        problems += (f"the file lasts {duration:.2f} s, but its header declares {known:.2f} s",)
        if duration < known:  # the declared ends, so that the missing part is reported
            ends = [header.video_end, header.audio_end]
    return Timeline(
        origin=header.origin,
        duration=duration,
        declared=known,
        video_end=ends[0],
        audio_end=ends[1],
        offsets=scan.offsets(),
        problems=problems,
    )


def _jump_problems(scan: PacketScan) -> tuple[str, ...]:
    if not scan.jumps:
        return ()
    count, step = len(scan.jumps), scan.jumps[0]
    times = "once" if count == 1 else f"{count} times"
    direction = "forwards" if step > 0 else "backwards"
    first = "" if count == 1 else "first "
    return (
        f"the time stamps jump {times} ({first}{abs(step):.2f} s {direction}); the parts are joined without a gap",
    )
