"""Windows of a long video: decoded once, and equal to separate time ranges."""

from __future__ import annotations

import numpy as np
import pytest

from avcil.errors import InputError
from avcil.media import read_clip, write_video
from avcil.media.windows import duration_of, read_windows, window_spans
from avcil.utils.frame_sampling import FrameSampling

RATE = 16_000
SMALL = FrameSampling(frames=8, short_side=24)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """35 seconds at 10 frames per second with different gray levels; longer than a block of audio."""
    path = tmp_path_factory.mktemp("windows") / "long.mp4"
    frames = [np.full((32, 48, 3), 20 + (7 * i) % 200, np.uint8) for i in range(350)]
    waveform = 0.4 * np.sin(2 * np.pi * 300 * np.arange(35 * RATE) / RATE)
    write_video(path, frames, 10.0, waveform=waveform.astype(np.float32), sample_rate=RATE)
    return path


def test_windows_equal_time_ranges(long_video):
    """Frames are equal bit for bit, audio except at the resampler's edges, to those of each range read alone."""
    spans = window_spans(duration_of(long_video), 3.0, 2.5)
    options = {"frames": 6, "short_side": 24, "sample_rate": 8000}
    samplings = [FrameSampling(frames=6, short_side=24), FrameSampling(frames=2)]
    windows = list(read_windows(long_video, spans, samplings=samplings, sample_rate=8000))
    assert [(window.start, window.end) for window in windows] == spans
    for window in windows[:: len(windows) // 4]:
        alone = read_clip(long_video, start=window.start, end=window.end, **options)
        np.testing.assert_array_equal(window.frames, alone.frames)
        other = read_clip(long_video, start=window.start, end=window.end, frames=2)
        np.testing.assert_array_equal(window.extra_frames[0], other.frames)
        assert not window.problems
        count = min(len(window.waveform), len(alone.waveform))
        assert abs(len(window.waveform) - len(alone.waveform)) <= 200
        np.testing.assert_allclose(
            window.waveform[200 : count - 200], alone.waveform[200 : count - 200], atol=0.02
        )


def test_video_is_decoded_once(long_video, monkeypatch):
    """A frame of several windows is decoded once; audio at most slightly more than once."""
    from avcil.media import audio, frames

    seen = {"frames": 0, "samples": 0}
    decode, heard = frames.TrackReader._decode, audio._Decoder.frames

    def count_frames(self):
        for item in decode(self):
            seen["frames"] += 1
            yield item

    def count_samples(self):
        for item in heard(self):
            seen["samples"] += item.samples
            yield item

    monkeypatch.setattr(frames.TrackReader, "_decode", count_frames)
    monkeypatch.setattr(audio._Decoder, "frames", count_samples)
    spans = window_spans(35.0, 2.0, 0.5)
    assert len(list(read_windows(long_video, spans, samplings=[SMALL], sample_rate=RATE))) == len(spans) == 67
    assert seen["frames"] <= 350
    assert seen["samples"] < 2.1 * 35 * RATE


def test_spans_of_windows():
    """A short file is one window; windows end with the file; invalid times are errors."""
    assert window_spans(1.0, 2.0, 0.5) == [(0.0, 1.0)]
    assert window_spans(4.0, 2.0, 1.0) == [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0)]
    assert window_spans(4.5, 2.0, 1.0)[-1] == (2.5, 4.5)
    for window, hop in ((0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="seconds above 0"):
            window_spans(4.0, window, hop)


def test_windows_of_one_modality(tmp_path):
    """Windows of a video without audio have no audio, those of an audio file no frames; both have a note."""
    film = tmp_path / "film.mp4"
    write_video(film, [np.full((32, 32, 3), 90, np.uint8)] * 30, 10.0)
    (window,) = read_windows(film, [(0.0, 2.0)], samplings=[FrameSampling(frames=4)], sample_rate=RATE)
    assert window.frames.shape == (4, 32, 32, 3)
    assert (window.waveform, window.problems) == (None, ("no audio track",))
    gone = tmp_path / "gone.mp4"
    with pytest.raises(InputError, match="there is no file"):
        duration_of(gone)
