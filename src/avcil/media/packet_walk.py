"""All packets of a file read without decoding: where its tracks end, and where their time stamps jump.

A jump is found as ffmpeg does it: in formats whose time stamps may jump, where a packet's stamp of decoding is more
than `LONGEST_STEP` seconds later than due; in all formats that are walked, where stamps run backwards. Tracks cross a
jump one after the other; one offset is added to all of them.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from av.container import InputContainer

from avcil.media.container import FILE_ERRORS, Deadline, seconds_of

LONGEST_STEP = 10.0
"""Seconds between two packets from which formats with discontinuities have one (ffmpeg's threshold)."""
STEP_BACK = 0.1
"""Seconds by which stamps of decoding must run backwards to be a discontinuity (ffmpeg's threshold)."""
PENDING = 16
"""Jumps of another track that a track may still have before it."""
TS_DISCONT = 0x0200
"""FFmpeg's flag AVFMT_TS_DISCONT: time stamps of the format may jump."""


def display_stamp(packet: Any) -> int | None:
    """A packet's time stamp of display; that of decoding where the former belongs to the other side of a jump."""
    if packet.pts is None or packet.dts is None:
        return packet.dts if packet.pts is None else packet.pts
    later = seconds_of(packet.pts - packet.dts, packet.time_base)
    return packet.pts if -STEP_BACK <= later <= LONGEST_STEP else packet.dts


class PacketWalk:
    """All packets of video and audio tracks, read without decoding."""

    def __init__(self, container: InputContainer, deadline: Deadline, *, joins: bool) -> None:
        used = [track for track in container.streams if track.type in ("video", "audio")]
        self._tracks = {track.index: _TrackWalk(track.time_base) for track in used}
        self.jumps: list[float] = []
        """Seconds of each discontinuity: by how much time stamps run ahead of what was due (negative: behind)."""
        self._joins = joins
        self._step = LONGEST_STEP if container.format.flags & TS_DISCONT else float("inf")
        self._read(container, used, deadline)

    def _read(self, container: InputContainer, used: list[Any], deadline: Deadline) -> None:
        if not used:
            return
        packets = container.demux(used)
        while True:
            deadline.check()
            try:
                packet = next(packets, None)
            except FILE_ERRORS:  # what comes after it cannot be decoded either
                return
            if packet is None:
                return
            track = self._tracks[packet.stream_index]
            if self._joins:
                self._look_for_jump(track, packet)
            track.take(packet)

    def _look_for_jump(self, track: _TrackWalk, packet: Any) -> None:
        """Compare a packet's stamp with what was due; the jump is either one that another track made, or new."""
        delta = track.ahead(packet)
        if delta is None or abs(delta) <= STEP_BACK:
            return
        pending = list(accumulate(self.jumps[track.jumps : track.jumps + PENDING]))
        best = min(range(len(pending)), key=lambda k: abs(delta - pending[k]), default=None)
        if best is not None and abs(delta - pending[best]) < abs(delta) / 2:
            if best == 0:  # the smaller offset: no track then overlaps with what it had before
                self.jumps[track.jumps] = min(self.jumps[track.jumps], delta)
            track.begin_part(track.jumps + best + 1)
        elif delta > self._step or track.runs_back(packet):
            self.jumps.append(delta)
            track.begin_part(len(self.jumps))

    def _shifts(self) -> list[float]:
        """Seconds added to the stamps after 0, 1, 2, ... jumps."""
        return [0.0, *(-total for total in accumulate(self.jumps))]

    def end(self, track: Any = None) -> float:
        """The time stamp, in seconds, at which a track ends, or the last of all; 0 if there is no packet."""
        walks = self._tracks.values() if track is None else [self._tracks[track.index]]
        shifts = self._shifts()
        return max((end + shifts[part] for walk in walks for part, end in walk.ends.items()), default=0.0)

    def offsets(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """As in `Timeline.offsets`; empty if nothing jumps."""
        if not self.jumps:
            return {}
        shifts = self._shifts()
        return {
            index: tuple((first, round(shifts[part] / walk.base)) for first, part in walk.parts)
            for index, walk in self._tracks.items()
        }


class _TrackWalk:
    """One track on the walk."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.jumps = 0
        """Discontinuities behind it."""
        self.parts: list[tuple[int, int]] = []
        """Numbers of the packets at which it goes on after a jump, with the jumps until there."""
        self.ends: dict[int, float] = {}
        """By jumps until there, the largest time stamp at which a packet ends, in seconds."""
        self._count = 0
        self._last: float | None = None
        self._due: float | None = None

    def ahead(self, packet: Any) -> float | None:
        """Seconds by which a packet's stamp is later than due; None where that cannot be told."""
        stamp = self._stamp(packet)
        return None if stamp is None or self._due is None else stamp - self._due

    def runs_back(self, packet: Any) -> bool:
        stamp = self._stamp(packet)
        return stamp is not None and self._last is not None and stamp + STEP_BACK < self._last

    def begin_part(self, jumps: int) -> None:
        self.jumps = jumps
        self.parts.append((self._count, jumps))

    def take(self, packet: Any) -> None:
        """Count a packet in."""
        self._count += 1
        length = seconds_of(packet.duration or 0, self.base)
        shown = display_stamp(packet)
        if shown is not None:
            end = seconds_of(shown, self.base) + length
            self.ends[self.jumps] = max(end, self.ends.get(self.jumps, end))
        stamp = self._stamp(packet)
        if stamp is not None:
            self._last, self._due = stamp, stamp + length
        elif self._due is not None:
            self._due += length

    def _stamp(self, packet: Any) -> float | None:
        stamp = packet.pts if packet.dts is None else packet.dts
        return None if stamp is None else seconds_of(stamp, self.base)
