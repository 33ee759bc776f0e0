"""Frames that are neither selected nor referenced are not decoded, and the result is unchanged."""

from __future__ import annotations

import re
from fractions import Fraction

import av
import numpy as np
import pytest

import avcil.media.frames as module
from avcil.media import read_clip
from avcil.media.skipping import _nal_types

KINDS = {
    "h264": ("libx264", "a.mp4", {"bf": "3", "crf": "30"}),
    "h264-pyramid": (
        "libx264",
        "a.mkv",
        {"x264-params": "bframes=8:b-adapt=0:b-pyramid=normal:open-gop=1:ref=8"},
    ),
    "h264-groups": ("libx264", "a.mp4", {"bf": "3", "g": "12"}),
    "h264-stream": ("libx264", "a.ts", {"bf": "3", "g": "12"}),
    "mpeg4": ("mpeg4", "a.mp4", {"bf": "2"}),
    "mpeg2": ("mpeg2video", "a.ts", {"bf": "2"}),
}


def moving(count):
    """Moving noise, so that all frames differ and B frames reference their neighbors."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 400, 3), np.uint8)
    return [noise[:, 3 * i : 3 * i + 64] for i in range(count)]


@pytest.fixture
def decoded(monkeypatch):
    """Number of frames that each reading decoded."""
    counts = []
    plain = module.TrackReader._decode

    def count(self):
        counts.append(0)
        for one in plain(self):
            counts[-1] += 1
            yield one

    monkeypatch.setattr(module.TrackReader, "_decode", count)
    return counts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", [{"frames": 4}, {"frames": 16}, {"frames": 3, "start": 1.5, "end": 3.3}])
def test_skipping_gives_the_same_frames(tmp_path, make, monkeypatch, decoded, kind, request_):
    """Byte for byte those of a full decode, with fewer decoded frames."""
    codec, name, coding = KINDS[kind]
    make.track(
        tmp_path / name, moving(100), range(100), time_base=Fraction(1, 25), codec=codec, coding=coding
    )
    spared = read_clip(tmp_path / name, **request_)
    monkeypatch.setattr(module.PacketSkipper, "supports", staticmethod(lambda track: False))
    plain = read_clip(tmp_path / name, **request_)
    np.testing.assert_array_equal(spared.frames, plain.frames)
    assert (spared.problems, spared.duration) == (plain.problems, plain.duration)
    fewer, all_ = decoded
    assert fewer < 0.9 * all_


@pytest.mark.parametrize("fault", ["missing", "twice", "wrong"])
def test_unreliable_time_stamps_disable_skipping(tmp_path, make, monkeypatch, fault):
    """With missing, equal or wrong time stamps, everything is decoded."""
    codec, name, coding = KINDS["h264"]
    make.track(tmp_path / name, moving(60), range(0, 2400, 40), codec=codec, coding=coding)
    monkeypatch.setattr(module.PacketSkipper, "supports", staticmethod(lambda track: False))
    plain = read_clip(tmp_path / name, frames=5)
    monkeypatch.undo()
    told = module.PacketSkipper._add_time_stamp

    class Lying:
        """A packet whose time stamp differs from that of the decoded frame."""

        def __init__(self, packet):
            self.size = packet.size
            self.pts = {"missing": None, "twice": 0, "wrong": packet.pts + 1}[fault]

    def wrong_stamp(self, packet, stamps):
        told(self, Lying(packet) if packet.size else packet, stamps)

    monkeypatch.setattr(module.PacketSkipper, "_add_time_stamp", wrong_stamp)
    reads = []
    read = module._read
    monkeypatch.setattr(module, "_read", lambda *a, **ways: (reads.append(ways["skip"]), read(*a, **ways))[1])
    np.testing.assert_array_equal(read_clip(tmp_path / name, frames=5).frames, plain.frames)
    assert reads == [True, False]


@pytest.mark.parametrize(
    ("kind", "spares"), [("h264-groups", True), ("h264-stream", True), ("h264-pyramid", False)]
)
def test_unneeded_groups_of_pictures_are_skipped(tmp_path, make, monkeypatch, kind, spares):
    """Frames of closed groups without a requested time are not decoded; those of open groups may be."""
    codec, name, coding = KINDS[kind]
    make.track(
        tmp_path / name, moving(100), range(100), time_base=Fraction(1, 25), codec=codec, coding=coding
    )
    passed = []
    plain = module.PacketSkipper._filtered

    def count(self, *args):
        for packet in plain(self, *args):
            passed.append(packet.pts)
            yield packet

    monkeypatch.setattr(module.PacketSkipper, "_filtered", count)
    read_clip(tmp_path / name, frames=2)  # at 1 s and 3 s: in the third and the seventh group of nine
    assert (len(passed) < 40) == spares


def encoded(frames, start=0, *, group=12, more=""):
    """H.264 packets with start codes, as (bytes, pts, dts, is key frame)."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width = codec.height = 64
    codec.pix_fmt, codec.time_base, codec.framerate, codec.thread_count = "yuv420p", Fraction(1, 25), 25, 1
    codec.options = {"g": str(group), "bf": "2", "crf": "20", "x264-params": f"scenecut=0:threads=1{more}"}
    packets = []
    for number, pixels in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = start + number, Fraction(1, 25)
        packets += codec.encode(picture)
    return [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets + codec.encode(None)]


def write(path, packets):
    """A transport stream, which may begin at any packet with any content."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=25)
        track.width = track.height = 64
        track.pix_fmt, track.time_base = "yuv420p", Fraction(1, 25)
        for data, pts, dts, is_key in packets:
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.time_base, packet.stream = (
                pts + 10,
                dts + 10,
                Fraction(1, 25),
                track,
            )
            packet.is_keyframe = is_key
            container.mux(packet)


def units(data):
    """The NAL units of bytes with start codes."""
    return [unit for unit in re.split(rb"\x00*\x00\x00\x01", data) if unit]


def check_all_ways(path, monkeypatch, requests, problems=()):
    for request in requests:
        spared = read_clip(path, **request)
        with monkeypatch.context() as patch:
            patch.setattr(module.PacketSkipper, "supports", staticmethod(lambda track: False))
            plain = read_clip(path, **request)
        np.testing.assert_array_equal(spared.frames, plain.frames)
        assert spared.problems == plain.problems == problems


@pytest.mark.parametrize("change", ["chroma-qp-offset=8", "sps-id=1"])
def test_parameter_sets_in_skipped_packets(tmp_path, monkeypatch, change):
    """They apply to later packets, so packets with changed or new parameter sets are decoded."""
    frames = moving(100)
    first, then = encoded(frames[:48]), encoded(frames[48:], 48, more=f":{change}")
    sets = [unit for unit in units(then[0][0]) if unit[0] & 31 in (7, 8)]
    assert len(sets) == 2
    begin = b"\0\0\0\1"
    first[-1] = (b"".join(begin + unit for unit in sets) + first[-1][0], *first[-1][1:])
    bare = [
        (b"".join(begin + unit for unit in units(data) if unit[0] & 31 not in (7, 8)), *rest)
        for data, *rest in then
    ]
    write(tmp_path / "a.ts", first + bare)
    check_all_ways(tmp_path / "a.ts", monkeypatch, [{"frames": count} for count in (2, 3, 4, 6)])


def test_repeated_time_stamps(tmp_path, monkeypatch):
    """Two recordings in one file: frames that are skipped in the first do not affect the second."""
    frames = moving(100)
    write(tmp_path / "a.ts", encoded(frames[:75]))
    write(tmp_path / "b.ts", encoded(frames + frames[::-1], group=250))
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    joined = ("the time stamps jump once (3.00 s backwards); the parts are joined without a gap",)
    check_all_ways(both, monkeypatch, [{"frames": count} for count in (2, 3, 4, 5, 6)], joined)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_nal_units_with_length_prefixes(size):
    """Length prefixes of any size are parsed; invalid lengths give no NAL unit types."""
    extradata = bytes([1, 100, 0, 31, 0xFC | (size - 1)])
    data = b"".join(len(unit).to_bytes(size, "big") + unit for unit in (b"\x06a", b"\x65bcd"))
    assert set(_nal_types(data, extradata)) == {6, 5}
    assert 0 in set(_nal_types(data + b"\0", extradata))
    assert 0 in set(_nal_types(data, b""))
