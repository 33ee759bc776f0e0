"""Which frame is selected for a time, and its pixels."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import avcil.media.frames as module
from avcil.media import MediaError, probe, read_clip, sample_times, write_video


def decode_all(path):
    """Every frame with its time as an exact fraction, as reference."""
    with av.open(str(path)) as container:
        origin = Fraction(container.start_time or 0, 1_000_000)
        return [
            (
                Fraction(frame.pts * frame.time_base.numerator, frame.time_base.denominator) - origin,
                frame.to_ndarray(format="rgb24"),
            )
            for frame in container.decode(video=0)
        ]


def shown_at(decoded, moment):
    """The last frame whose time is at most `moment`, otherwise the first."""
    past = [frame for time, frame in decoded if time <= Fraction(moment) + Fraction(1, 10**6)]
    return past[-1] if past else decoded[0][1]


def test_times_are_slice_centers():
    """The times equal the documented formula."""
    assert sample_times(1.0, 3.0, 4).tolist() == [1.25, 1.75, 2.25, 2.75]


def test_every_frame_once(tmp_path, make):
    """If as many times as frames are requested, each frame occurs once, in order."""
    write_video(tmp_path / "a.mp4", (make.frame(i) for i in range(50)), 25)
    clip = read_clip(tmp_path / "a.mp4", frames=50)
    assert [make.number(frame) for frame in clip.frames] == list(range(50))
    assert clip.problems == ()
    assert clip.frames.flags.c_contiguous


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.integers(1, 700), min_size=1, max_size=20),
    count=st.integers(1, 12),
    first=st.integers(0, 500),
)
def test_variable_frame_rate(tmp_path, make, gaps, count, first):
    """For any intervals between frames, the selected frames equal those of a full decode."""
    stamps = (first + np.cumsum([0, *gaps])).tolist()
    path = tmp_path / "vfr.mkv"
    make.track(path, [make.frame(i) for i in range(len(stamps))], stamps)
    decoded = decode_all(path)
    clip = read_clip(path, frames=count)
    expected = [make.number(shown_at(decoded, moment)) for moment in clip.frame_times]
    assert [make.number(frame) for frame in clip.frames] == expected


@pytest.mark.parametrize(("start", "end"), [(0.4, 1.2), (1.0, None), (None, 0.08), (1.96, 2.0)])
def test_time_range(tmp_path, make, start, end):
    """`start` and `end` select a part; frame times are those in the file."""
    path = tmp_path / "a.mp4"
    write_video(path, (make.frame(i) for i in range(50)), 25)
    clip = read_clip(path, frames=4, start=start, end=end)
    decoded = decode_all(path)
    assert np.allclose(clip.frame_times, sample_times(start or 0.0, end or 2.0, 4))
    assert clip.duration == pytest.approx((end or 2.0) - (start or 0.0))
    for moment, frame in zip(clip.frame_times, clip.frames, strict=True):
        assert make.number(frame) == make.number(shown_at(decoded, moment))


def test_fewer_frames_than_requested(tmp_path, make):
    """Frames are repeated, also if the file has only one."""
    for have, expected in ((3, [0, 0, 1, 1, 2, 2]), (1, [0] * 6)):
        write_video(tmp_path / "few.mp4", (make.frame(i) for i in range(have)), 25)
        clip = read_clip(tmp_path / "few.mp4", frames=6)
        assert [make.number(frame) for frame in clip.frames] == expected


@pytest.mark.parametrize("gop", [5, 1000])
@pytest.mark.parametrize("start", [0.0, 3.0, 7.3])
def test_seeking_gives_the_same_frames(tmp_path, make, monkeypatch, gop, start):
    """Seeking to key frames, or finding none, gives the frames of a sequential decode."""
    path = tmp_path / "long.mp4"
    make.track(path, [make.frame(i) for i in range(250)], list(range(0, 10_000, 40)), gop=gop)
    plain = read_clip(path, frames=6, start=start)
    monkeypatch.setattr(module, "MIN_SEEK_DISTANCE", 0.5)
    jumped = read_clip(path, frames=6, start=start)
    assert (plain.frames == jumped.frames).all()
    assert make.number(jumped.frames[0]) == int((jumped.frame_times[0] + 1e-6) * 25)


def test_wrong_index_falls_back_to_decoding(tmp_path, make, monkeypatch):
    """If a seek ends after its target, the file is decoded from the beginning."""
    path = tmp_path / "long.mp4"
    make.track(path, [make.frame(i) for i in range(100)], list(range(0, 4000, 40)), gop=5)
    plain = read_clip(path, frames=3)
    monkeypatch.setattr(module, "MIN_SEEK_DISTANCE", 0.5)
    astray = []

    class Astray:
        """A container whose seeks end two seconds after the target."""

        def __init__(self, container):
            self.demux, self._seek = container.demux, container.seek

        def seek(self, stamp, *, stream, backward):
            astray.append(stamp)
            self._seek(stamp + round(2 / stream.time_base), stream=stream, backward=backward)

    make_reader = module.TrackReader.__init__
    monkeypatch.setattr(
        module.TrackReader,
        "__init__",
        lambda self, file, *rest, **more: make_reader(self, Astray(file), *rest, **more),
    )
    assert (read_clip(path, frames=3).frames == plain.frames).all()
    assert len(astray) == 1


@pytest.mark.parametrize(("width", "height"), [(161, 121), (33, 47), (1, 1)])
@pytest.mark.parametrize("short_side", [None, 24, 200])
def test_unusual_sizes(tmp_path, width, height, short_side):
    """Odd sizes keep their pixels, and are resized to the short side with the aspect ratio kept."""
    frame = np.full((height, width, 3), 90, np.uint8)
    with av.open(str(tmp_path / "odd.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    clip = read_clip(tmp_path / "odd.mkv", frames=2, short_side=short_side)
    scale = 1 if short_side is None else short_side / min(width, height)
    assert np.abs(np.subtract(clip.frames.shape[1:3], (height * scale, width * scale))).max() <= 0.5
    assert np.abs(clip.frames.astype(int) - 90).max() <= 2


ONE = 65536
LAST = 1 << 30
MATRICES = {
    (ONE, 0, 0, ONE): lambda a: a,
    (0, ONE, -ONE, 0): lambda a: np.rot90(a, -1),
    (-ONE, 0, 0, -ONE): lambda a: np.rot90(a, 2),
    (0, -ONE, ONE, 0): lambda a: np.rot90(a, 1),
    (-ONE, 0, 0, ONE): np.fliplr,
    (ONE, 0, 0, -ONE): np.flipud,
    (0, ONE, ONE, 0): lambda a: a.swapaxes(0, 1),
    (0, -ONE, -ONE, 0): lambda a: np.rot90(a, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_display_matrix(tmp_path, make, matrix):
    """All eight orientations of frames in a file; the probe returns the displayed size."""
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:16, :24], frame[:16, 24:], frame[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    a, b, c, d = matrix
    path = tmp_path / "turned.mp4"
    make.track(path, [frame], [0], matrix=[a, b, 0, c, d, 0, 0, 0, LAST])
    shown = read_clip(path, frames=1).frames[0]
    assert (
        np.abs(shown.astype(int) - MATRICES[matrix](frame).astype(int)).mean() < 12
    )  # chroma is blurred at edges
    info = probe(path)
    assert (info.height, info.width) == shown.shape[:2]
    assert info.mirrored == (a * d - b * c < 0)


def test_oblique_rotation_is_reported(tmp_path, make):
    """A rotation that is not a multiple of 90 degrees is ignored, with a note."""
    part = round(ONE * 0.5**0.5)
    path = tmp_path / "oblique.mp4"
    make.track(path, [make.frame(7)], [0], matrix=[part, part, 0, -part, part, 0, 0, 0, LAST])
    assert any("45 degrees" in problem for problem in read_clip(path, frames=1).problems)


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (32, 96)), (Fraction(1, 2), (64, 48))])
def test_non_square_pixels_become_square(tmp_path, make, aspect, size):
    """The longer side is enlarged, so that shapes are correct."""
    make.track(tmp_path / "sar.mp4", [make.frame(7)], [0], aspect=aspect)
    assert read_clip(tmp_path / "sar.mp4", frames=1).frames.shape[1:3] == size
    info = probe(tmp_path / "sar.mp4")
    assert (info.height, info.width) == size


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv420p10le"),
        ("libx264", "yuv444p"),
        ("libx264", "yuv422p"),
        ("ffv1", "gray"),
        ("ffv1", "yuva420p"),
        ("ffv1", "gbrp16le"),
        ("mjpeg", "yuvj420p"),
    ],
)
def test_pixel_formats(tmp_path, make, codec, pix_fmt):
    """10 bits, full chroma, gray, alpha, and full range give the same gray levels in 8 bits."""
    frames = [make.frame(i) for i in range(0, 100, 9)]
    make.track(tmp_path / "a.mkv", frames, list(range(0, 480, 40)), codec=codec, pix_fmt=pix_fmt)
    clip = read_clip(tmp_path / "a.mkv", frames=12)
    assert [make.number(frame) for frame in clip.frames] == list(range(0, 100, 9))


def test_alpha_is_ignored(tmp_path):
    """An image with alpha gives its colors; a still image is a video of one frame."""
    rgba = np.full((10, 12, 4), (200, 100, 50, 128), np.uint8)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 12, 10, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode(None))
    clip = read_clip(tmp_path / "a.mov", frames=2)
    assert (clip.frames == [200, 100, 50]).all()


def test_cover_image_is_not_a_video(tmp_path):
    """The cover image of a music file is not used as its video."""
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        waveform = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        container.mux(cover.encode(None))
        block = av.AudioFrame.from_ndarray(np.full((1, 4096), 0.1, np.float32), format="fltp", layout="mono")
        block.sample_rate = 16000
        container.mux(waveform.encode(block))
        container.mux(waveform.encode(None))
    clip = read_clip(tmp_path / "song.m4a", frames=2, sample_rate=16000)
    assert clip.frames is None
    assert "no video track" in clip.problems
    assert not probe(tmp_path / "song.m4a").has_video


def test_too_large_short_side_is_rejected(tmp_path, make):
    """The error is raised before memory is allocated."""
    write_video(tmp_path / "a.mp4", [make.frame(1)], 25)
    with pytest.raises(MediaError, match="too much memory"):
        read_clip(tmp_path / "a.mp4", frames=10, short_side=100_000)
