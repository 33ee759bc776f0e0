"""Frames that nobody sees and no frame leans on are not decoded, and nothing else changes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import avcil.media.frames as module
from avcil.media import read_clip

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
    """Noise that drifts, so that every frame differs and B frames lean on their neighbours."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 400, 3), np.uint8)
    return [noise[:, 3 * i : 3 * i + 64] for i in range(count)]


@pytest.fixture
def decoded(monkeypatch):
    """How many frames each reading took out of the decoder."""
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
def test_same_frames_from_fewer_decoded(tmp_path, make, monkeypatch, decoded, kind, request_):
    """Byte for byte those of a full pass."""
    codec, name, coding = KINDS[kind]
    make.track(
        tmp_path / name, moving(100), range(100), time_base=Fraction(1, 25), codec=codec, coding=coding
    )
    spared = read_clip(tmp_path / name, **request_)
    monkeypatch.setattr(module.Skipper, "knows", staticmethod(lambda track: False))
    plain = read_clip(tmp_path / name, **request_)
    np.testing.assert_array_equal(spared.frames, plain.frames)
    assert (spared.problems, spared.duration) == (plain.problems, plain.duration)
    fewer, all_ = decoded
    assert fewer < 0.9 * all_


@pytest.mark.parametrize("fault", ["missing", "twice", "wrong"])
def test_stamps_that_do_not_tell_are_not_relied_on(tmp_path, make, monkeypatch, fault):
    """No stamps, equal ones, or stamps that promise another frame: everything is decoded."""
    codec, name, coding = KINDS["h264"]
    make.track(tmp_path / name, moving(60), range(0, 2400, 40), codec=codec, coding=coding)
    monkeypatch.setattr(module.Skipper, "knows", staticmethod(lambda track: False))
    plain = read_clip(tmp_path / name, frames=5)
    monkeypatch.undo()
    told = module.Skipper._note

    class Lying:
        """A packet whose stamp is not what the decoder will say."""

        def __init__(self, packet):
            self.size = packet.size
            self.pts = {"missing": None, "twice": 0, "wrong": packet.pts + 1}[fault]

    def lie(self, packet, stamps):
        told(self, Lying(packet) if packet.size else packet, stamps)

    monkeypatch.setattr(module.Skipper, "_note", lie)
    reads = []
    read = module._read
    monkeypatch.setattr(module, "_read", lambda *a, **ways: (reads.append(ways["skip"]), read(*a, **ways))[1])
    np.testing.assert_array_equal(read_clip(tmp_path / name, frames=5).frames, plain.frames)
    assert reads == [True, False]


@pytest.mark.parametrize(
    ("kind", "spares"), [("h264-groups", True), ("h264-stream", True), ("h264-pyramid", False)]
)
def test_nothing_is_decoded_between_the_last_needed_frame_and_an_idr_picture(
    tmp_path, make, monkeypatch, kind, spares
):
    """Of groups of twelve frames with no moment in them, hardly one reaches the decoder; of open groups each may."""
    codec, name, coding = KINDS[kind]
    make.track(
        tmp_path / name, moving(100), range(100), time_base=Fraction(1, 25), codec=codec, coding=coding
    )
    passed = []
    plain = module.Skipper._passed

    def count(self, *args):
        for packet in plain(self, *args):
            passed.append(packet.pts)
            yield packet

    monkeypatch.setattr(module.Skipper, "_passed", count)
    read_clip(tmp_path / name, frames=2)  # at 1 s and 3 s: in the third and the seventh group of eight
    assert (len(passed) < 40) == spares
