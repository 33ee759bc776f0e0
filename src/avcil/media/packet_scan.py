"""Reading all packets of a file without decoding: where tracks end, and where time stamps have discontinuities.

Discontinuities are found with ffmpeg's rules: in formats whose time stamps may jump, a decoding time stamp more than
`MAX_STEP` seconds later than expected; in all formats, time stamps that run backwards. Tracks reach a discontinuity one
after the other; the same offset is added to all of them.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from av.container import InputContainer

from avcil.media.container import FILE_ERRORS, Deadline, seconds_of

MAX_STEP = 10.0
"""Seconds between two packets above which there is a discontinuity, in formats that have them (ffmpeg's threshold)."""
_STEP_BACK = 0.1
"""Seconds by which decoding time stamps run backwards at a discontinuity (ffmpeg's threshold)."""
_MAX_PENDING = 16
"""Maximum number of jumps of another track that a track has not reached yet."""
_TS_DISCONT = 0x0200
"""FFmpeg's flag AVFMT_TS_DISCONT: time stamps of the format may jump."""


def display_stamp(packet: Any) -> int | None:
    """The presentation time stamp of a packet; the decoding time stamp if the former is beyond a discontinuity."""
    if packet.pts is None or packet.dts is None:
        return packet.dts if packet.pts is None else packet.pts
    later = seconds_of(packet.pts - packet.dts, packet.time_base)
    return packet.pts if -_STEP_BACK <= later <= MAX_STEP else packet.dts


class PacketScan:
    """Reads all packets of video and audio tracks without decoding."""

    def __init__(self, container: InputContainer, deadline: Deadline, *, detect_jumps: bool) -> None:
        used = [track for track in container.streams if track.type in ("video", "audio")]
        self._tracks = {track.index: _TrackScan(track.time_base) for track in used}
        self.jumps: list[float] = []
        """For each discontinuity, the seconds by which time stamps are ahead of the expected ones (negative:
        behind)."""
        self._detect_jumps = detect_jumps
        self._step = MAX_STEP if container.format.flags & _TS_DISCONT else float("inf")
        self._read(container, used, deadline)

    def _read(self, container: InputContainer, used: list[Any], deadline: Deadline) -> None:
        if not used:
            return
        packets = container.demux(used)
        while True:
            deadline.check()
            try:
                packet = next(packets, None)
            except FILE_ERRORS:  # later packets cannot be decoded either
                return
            if packet is None:
                return
            track = self._tracks[packet.stream_index]
            if self._detect_jumps:
                self._detect_jump(track, packet)
            track.add(packet)

    def _detect_jump(self, track: _TrackScan, packet: Any) -> None:
        """Compare a time stamp with the expected one. A jump is either new, or one that another track has made."""
        delta = track.seconds_ahead(packet)
        if delta is None or abs(delta) <= _STEP_BACK:
            return
        pending = list(accumulate(self.jumps[track.jumps : track.jumps + _MAX_PENDING]))
        best = min(range(len(pending)), key=lambda k: abs(delta - pending[k]), default=None)
        if best is not None and abs(delta - pending[best]) < abs(delta) / 2:
            if best == 0:  # with the smaller offset, no track overlaps itself
                self.jumps[track.jumps] = min(self.jumps[track.jumps], delta)
            track.begin_part(track.jumps + best + 1)
        elif delta > self._step or track.runs_backwards(packet):
            self.jumps.append(delta)
            track.begin_part(len(self.jumps))

    def _shifts(self) -> list[float]:
        """Seconds to add to time stamps after 0, 1, 2, ... jumps."""
        return [0.0, *(-total for total in accumulate(self.jumps))]

    def end(self, track: Any = None) -> float:
        """The time stamp in seconds at which a track ends; None: the last of all tracks. 0 if there is no packet."""
        scans = self._tracks.values() if track is None else [self._tracks[track.index]]
        shifts = self._shifts()
        return max((end + shifts[part] for scan in scans for part, end in scan.ends.items()), default=0.0)

    def offsets(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """The value of `Timeline.offsets`; empty if there are no jumps."""
        if not self.jumps:
            return {}
        shifts = self._shifts()
        return {
            index: tuple((first, round(shifts[part] / scan.base)) for first, part in scan.parts)
            for index, scan in self._tracks.items()
        }


class _TrackScan:
    """The state of one track."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.jumps = 0
        """Number of discontinuities so far."""
        self.parts: list[tuple[int, int]] = []
        """Number of the first packet after each jump, and number of jumps up to it."""
        self.ends: dict[int, float] = {}
        """By number of jumps, the largest time stamp at which a packet ends, in seconds."""
        self._count = 0
        self._last: float | None = None
        self._expected: float | None = None

    def seconds_ahead(self, packet: Any) -> float | None:
        """Seconds by which a time stamp is later than expected; None if unknown."""
        stamp = self._stamp(packet)
        return None if stamp is None or self._expected is None else stamp - self._expected

    def runs_backwards(self, packet: Any) -> bool:
        stamp = self._stamp(packet)
        return stamp is not None and self._last is not None and stamp + _STEP_BACK < self._last

    def begin_part(self, jumps: int) -> None:
        self.jumps = jumps
        self.parts.append((self._count, jumps))

    def add(self, packet: Any) -> None:
        """Update the state with a packet."""
        self._count += 1
        length = seconds_of(packet.duration or 0, self.base)
        shown = display_stamp(packet)
        if shown is not None:
            end = seconds_of(shown, self.base) + length
            self.ends[self.jumps] = max(end, self.ends.get(self.jumps, end))
        stamp = self._stamp(packet)
        if stamp is not None:
            self._last, self._expected = stamp, stamp + length
        elif self._expected is not None:
            self._expected += length

    def _stamp(self, packet: Any) -> float | None:
        stamp = packet.pts if packet.dts is None else packet.dts
        return None if stamp is None else seconds_of(stamp, self.base)
