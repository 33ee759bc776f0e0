"""Which packets of a video track need not be decoded because nobody sees their frames and no frame leans on them.

H.264, MPEG-4 part 2 and MPEG-2 mark pictures that no other picture is predicted from (about half of them in what
x264 makes). The decoder may leave these out, all others are the same bit for bit. HEVC marks them too, but a
higher temporal layer may lean on them, so its packets are all decoded. No picture behind an IDR picture of H.264 leans
on one before it: packets between the last needed and the next IDR picture never reach the decoder, unless they
carry something else that lasts, such as parameter sets.

Which frame is on display at a moment follows from the time stamps of the packets alone. Packets come in the order of
decoding, the stamps are of display; the two orders differ by less than `REORDER` packets.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from avcil.media.container import SLACK, seconds_of

CODECS = frozenset({"h264", "mpeg4", "mpeg2video"})
REORDER = 34
"""Packets looked at before and behind; H.264 reorders at most 16 frames, which may be 32 fields."""
IDR = 5
PASSING = frozenset({1, 2, 3, 4, IDR, 9, 12})
"""Types of H.264's NAL units that matter to their own picture alone: slices, delimiters, filling."""


class CannotSkip(Exception):
    """The time stamps do not tell, or told wrong, which frames are on display."""


class Skipper:
    """Sets the decoder, packet by packet, to leave out what nobody needs."""

    def __init__(self, track: Any, origin: float, times: np.ndarray) -> None:
        self._codec, self._base, self._origin = track.codec_context, track.time_base, origin
        self._times = (np.asarray(times, float) + SLACK).tolist()
        self._expected: dict[int, int] = {}
        self._all_needed = True
        self._idle: set[int] = set()  # ids of packets in `ahead`

    @staticmethod
    def knows(track: Any) -> bool:
        """Whether the track's codec is one whose marks can be relied on."""
        return track.codec_context.name in CODECS

    def packets(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets to be decoded; before each the decoder is told whether its frame is needed."""
        ahead: deque[Any] = deque()
        stamps: list[int] = []
        behind: deque[int] = deque()
        self._idle.clear()
        for packet in packets:
            self._note(packet, stamps)
            if packet.size and packet.is_keyframe and IDR in self._kinds_in(packet):
                self._idle.update(map(id, self._tail(ahead, stamps)))
            ahead.append(packet)
            if len(ahead) > REORDER:
                yield from self._passed(ahead.popleft(), stamps, behind)
        while ahead:
            yield from self._passed(ahead.popleft(), stamps, behind)

    def check(self, index: int, frame: Any) -> None:
        """Raise `CannotSkip` unless `frame` is the one that the stamps promised for moment `index`."""
        if self._expected.get(index) != frame.pts:
            raise CannotSkip

    def _note(self, packet: Any, stamps: list[int]) -> None:
        if not packet.size:  # the packet that empties the decoder at the end
            return
        if packet.pts is None:
            raise CannotSkip
        at = bisect_left(stamps, packet.pts)
        if at < len(stamps) and stamps[at] == packet.pts:
            raise CannotSkip
        insort(stamps, packet.pts)

    def _tail(self, ahead: deque[Any], stamps: list[int]) -> Iterator[Any]:
        """The packets at the end that lead to no needed frame, were the next one an IDR picture."""
        for packet in reversed(ahead):
            if self._needed(packet.pts, stamps) or not self._kinds_in(packet) <= PASSING:
                return
            yield packet

    def _kinds_in(self, packet: Any) -> set[int]:
        """Types of a packet's NAL units (ITU-T H.264, 7.4.1); {0} where it cannot be told, or other codecs have it."""
        if self._codec.name != "h264" or packet.has_sidedata("new_extradata"):
            return {0}
        return set(_nal_kinds(bytes(packet), self._codec.extradata or b""))

    def _passed(self, packet: Any, stamps: list[int], behind: deque[int]) -> Iterator[Any]:
        """The packet, with the decoder told whether its frame is needed; nothing where it need not see it."""
        if packet.size:
            needed = self._needed(packet.pts, stamps)
            if needed != self._all_needed:
                self._codec.skip_frame = "DEFAULT" if needed else "NONREF"
                self._all_needed = needed
            behind.append(packet.pts)
            if len(behind) > REORDER:
                del stamps[bisect_left(stamps, behind.popleft())]
        if id(packet) not in self._idle:
            yield packet
        self._idle.discard(id(packet))

    def _needed(self, stamp: int, stamps: list[int]) -> bool:
        """Whether the frame is on display at a moment, or is the first or last, which say where the track ends."""
        place = bisect_left(stamps, stamp)
        last = place + 1 == len(stamps)
        begins = 0.0 if place == 0 else self._seconds(stamp)
        first = 0 if place == 0 else bisect_left(self._times, begins)
        behind = len(self._times) if last else bisect_left(self._times, self._seconds(stamps[place + 1]))
        self._expected.update(dict.fromkeys(range(first, behind), stamp))
        return place == 0 or last or first < behind

    def _seconds(self, stamp: int) -> float:
        return seconds_of(stamp, self._base) - self._origin


def _nal_kinds(data: bytes, extradata: bytes) -> Iterator[int]:
    """Types of the NAL units in `data`: with lengths before them as in MP4, or start codes as in a stream."""
    at = 0
    if extradata[:1] == b"\x01" and len(extradata) > 4:
        # ISO/IEC 14496-15: the size of lengths is in the fifth byte
        size = (extradata[4] & 3) + 1
        while at + size < len(data):
            yield data[at + size] & 31
            at += size + int.from_bytes(data[at : at + size], "big")
        if at != len(data):  # these were no lengths
            yield 0
        return
    if not data.startswith((b"\0\0\1", b"\0\0\0\1")):
        yield 0
    while 0 <= (at := data.find(b"\0\0\1", at)) < len(data) - 3:
        yield data[at + 3] & 31
        at += 3
