"""Skipping packets of a video track whose frames are not needed, neither for display nor as reference frames.

H.264, MPEG-4 part 2 and MPEG-2 mark non-reference frames (about half of the frames with x264). The decoder can skip
them; all other frames remain bit-identical. HEVC marks them too, but higher temporal layers may refer to them, so all
its packets are decoded. No frame after an IDR frame of H.264 refers to a frame before it: packets between the last
needed frame and the next IDR frame are not decoded, unless they contain other data such as parameter sets.

The time stamps of the packets determine which frame is displayed at a time. Packets are in decoding order, their time
stamps in display order; the two orders differ by less than `REORDER_WINDOW` packets.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from avcil.media.container import TIME_TOLERANCE, seconds_of

_CODECS = frozenset({"h264", "mpeg4", "mpeg2video"})
REORDER_WINDOW = 34
"""Number of packets compared in each direction; H.264 reorders at most 16 frames, that is 32 fields."""
_IDR = 5
_SELF_CONTAINED = frozenset({1, 2, 3, 4, _IDR, 9, 12})
"""Types of H.264 NAL units that affect only their own frame: slices, delimiters, filler data."""


class CannotSkip(Exception):
    """The displayed frames cannot be determined from the time stamps, or were determined wrongly."""


class PacketSkipper:
    """Tells the decoder, packet by packet, what to skip."""

    def __init__(self, track: Any, origin: float, times: np.ndarray) -> None:
        self._codec, self._base, self._origin = track.codec_context, track.time_base, origin
        self._times = (np.asarray(times, float) + TIME_TOLERANCE).tolist()
        self._expected: dict[int, int] = {}
        self._all_needed = True
        self._droppable: set[int] = set()  # ids of packets in `ahead`

    @staticmethod
    def supports(track: Any) -> bool:
        """Whether the codec of the track is supported."""
        return track.codec_context.name in _CODECS

    def packets(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets to decode; before each one, the decoder is told whether its frame is needed."""
        ahead: deque[Any] = deque()
        stamps: list[int] = []
        behind: deque[int] = deque()
        self._droppable.clear()
        for packet in packets:
            self._add_time_stamp(packet, stamps)
            if packet.size and packet.is_keyframe and _IDR in self._nal_types_in(packet):
                self._droppable.update(map(id, self._droppable_tail(ahead, stamps)))
            ahead.append(packet)
            if len(ahead) > REORDER_WINDOW:
                yield from self._filtered(ahead.popleft(), stamps, behind)
        while ahead:
            yield from self._filtered(ahead.popleft(), stamps, behind)

    def check(self, index: int, frame: Any) -> None:
        """Raise `CannotSkip` unless `frame` is the expected frame for time `index`."""
        if self._expected.get(index) != frame.pts:
            raise CannotSkip

    def _add_time_stamp(self, packet: Any, stamps: list[int]) -> None:
        if not packet.size:  # the packet that flushes the decoder at the end
            return
        if packet.pts is None:
            raise CannotSkip
        at = bisect_left(stamps, packet.pts)
        if at < len(stamps) and stamps[at] == packet.pts:
            raise CannotSkip
        insort(stamps, packet.pts)

    def _droppable_tail(self, ahead: deque[Any], stamps: list[int]) -> Iterator[Any]:
        """Trailing packets that are not needed if the next frame is an IDR frame."""
        for packet in reversed(ahead):
            if self._is_needed(packet.pts, stamps) or not self._nal_types_in(packet) <= _SELF_CONTAINED:
                return
            yield packet

    def _nal_types_in(self, packet: Any) -> set[int]:
        """Types of the NAL units in a packet (ITU-T H.264, 7.4.1); {0} if unknown or for other codecs."""
        if self._codec.name != "h264" or packet.has_sidedata("new_extradata"):
            return {0}
        return set(_nal_types(bytes(packet), self._codec.extradata or b""))

    def _filtered(self, packet: Any, stamps: list[int], behind: deque[int]) -> Iterator[Any]:
        """Tell the decoder whether the frame is needed, and yield the packet unless it can be dropped."""
        if packet.size:
            needed = self._is_needed(packet.pts, stamps)
            if needed != self._all_needed:
                self._codec.skip_frame = "DEFAULT" if needed else "NONREF"
                self._all_needed = needed
            behind.append(packet.pts)
            if len(behind) > REORDER_WINDOW:
                del stamps[bisect_left(stamps, behind.popleft())]
        if id(packet) not in self._droppable:
            yield packet
        self._droppable.discard(id(packet))

    def _is_needed(self, stamp: int, stamps: list[int]) -> bool:
        """Whether the frame is displayed at a requested time, or is the first or last, which give the ends of the
        track."""
        place = bisect_left(stamps, stamp)
        last = place + 1 == len(stamps)
        begins = 0.0 if place == 0 else self._seconds(stamp)
        first = 0 if place == 0 else bisect_left(self._times, begins)
        behind = len(self._times) if last else bisect_left(self._times, self._seconds(stamps[place + 1]))
        self._expected.update(dict.fromkeys(range(first, behind), stamp))
        return place == 0 or last or first < behind

    def _seconds(self, stamp: int) -> float:
        return seconds_of(stamp, self._base) - self._origin


def _nal_types(data: bytes, extradata: bytes) -> Iterator[int]:
    """Types of the NAL units in `data`, which have length prefixes as in MP4, or start codes."""
    at = 0
    if extradata[:1] == b"\x01" and len(extradata) > 4:
        # ISO/IEC 14496-15: the fifth byte has the size of the length prefixes
        size = (extradata[4] & 3) + 1
        while at + size < len(data):
            yield data[at + size] & 31
            at += size + int.from_bytes(data[at : at + size], "big")
        if at != len(data):  # not length prefixes
            yield 0
        return
    if not data.startswith((b"\0\0\1", b"\0\0\0\1")):
        yield 0
    while 0 <= (at := data.find(b"\0\0\1", at)) < len(data) - 3:
        yield data[at + 3] & 31
        at += 3
