"""Audio of a clip: sample rate, length, and position in time."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from scipy.io import wavfile

import avcil.media.audio as module
from avcil.media import MediaError, read_clip, write_video


def sine(hertz, seconds, rate, level=0.5):
    """A sine with phase 0 at the beginning."""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def as_wav(path, rate, samples, kind=np.int16):
    """Write with scipy, so that the test does not depend on PyAV's encoder."""
    samples = samples * np.iinfo(kind).max if np.issubdtype(kind, np.integer) else samples
    wavfile.write(path, rate, samples.astype(kind))


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 11025])
@pytest.mark.parametrize("expected", [16000, 44100])
def test_resampled_sine(tmp_path, rate, expected):
    """A resampled sine equals a sine at the new rate, except at the edges; the length is right."""
    as_wav(tmp_path / "a.wav", rate, sine(440, 1.3, rate))
    clip = read_clip(tmp_path / "a.wav", sample_rate=expected)
    assert clip.sample_rate == expected
    assert clip.waveform.dtype == np.float32
    assert abs(len(clip.waveform) - round(1.3 * rate) / rate * expected) <= 1
    inner = slice(expected // 50, -expected // 50)
    assert np.abs(clip.waveform - sine(440, 1.3, expected)[: len(clip.waveform)])[inner].max() < 2e-3
    assert clip.problems == ()


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_channels_are_averaged(tmp_path, kind):
    """Equal weights for integers and floats: a silent second channel halves the level."""
    mono = sine(300, 0.5, 16000)
    for channels, factor in ((2, 0.5), (3, 1 / 3), (6, 1 / 6), (16, 1 / 16)):  # PyAV crashed on more than 8
        wide = np.zeros((len(mono), channels))
        wide[:, 0] = mono
        as_wav(tmp_path / "wide.wav", 16000, wide, kind)
        waveform = read_clip(tmp_path / "wide.wav", sample_rate=16000).waveform
        assert np.abs(waveform - factor * mono).max() < 1e-4


@pytest.mark.parametrize(("start", "end"), [(0.25, 0.75), (0.1, None), (None, 0.3)])
def test_time_range(tmp_path, start, end):
    """The range is exact to the sample, and bit-exact without resampling."""
    samples = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    as_wav(tmp_path / "a.wav", 16000, samples, np.float32)
    clip = read_clip(tmp_path / "a.wav", sample_rate=16000, start=start, end=end)
    first, last = round((start or 0) * 16000), round((end or 1) * 16000)
    assert (clip.waveform == samples[first:last]).all()
    assert clip.duration == pytest.approx((last - first) / 16000)


def test_seek_in_a_long_file(tmp_path, monkeypatch):
    """Seeking gives the same samples as decoding the whole file."""
    samples = np.random.default_rng(0).uniform(-1, 1, 80000).astype(np.float32)
    as_wav(tmp_path / "a.wav", 8000, samples, np.float32)
    monkeypatch.setattr(module, "MIN_SEEK_START", 2.0)
    clip = read_clip(tmp_path / "a.wav", sample_rate=8000, start=7.125, end=8.0)
    assert (clip.waveform == samples[57000:64000]).all()


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_click_and_flash_are_synchronous(tmp_path, rate):
    """With H.264 and AAC (and its priming), a click and a flash at 0.5 s are both found at 0.5 s."""
    waveform = np.zeros(rate, np.float32)
    waveform[rate // 2] = 1.0
    frames = [np.full((32, 32, 3), 235 if i >= 25 else 16, np.uint8) for i in range(50)]
    write_video(tmp_path / "a.mp4", frames, 50, waveform=waveform, sample_rate=rate)
    for start in (None, 0.3):
        clip = read_clip(tmp_path / "a.mp4", frames=50, sample_rate=16000, start=start)
        click = np.abs(clip.waveform).argmax() / 16000 + (start or 0)
        flash = clip.frame_times[np.argmax(clip.frames.mean((1, 2, 3)) > 128)]
        assert click == pytest.approx(0.5, abs=0.002)
        assert flash == pytest.approx(0.51, abs=0.02)
    whole = read_clip(tmp_path / "a.mp4", sample_rate=rate)
    assert rate <= len(whole.waveform) <= rate + 1024


def late_audio(path, make, late, gap=0.0):
    """One second of video, and half a second of the value 1.0 that begins at `late` seconds, with a gap in
    its middle."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        audio = container.add_stream("pcm_f32le", rate=8000, layout="mono")
        for i in range(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(make.frame(i), format="rgb24")))
        container.mux(video.encode(None))
        for i in range(5):
            block = av.AudioFrame.from_ndarray(np.ones((1, 800), np.float32), format="flt", layout="mono")
            block.sample_rate, block.time_base = 8000, Fraction(1, 8000)
            block.pts = round((late + gap * (i > 2)) * 8000) + 800 * i
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def test_late_audio_is_preceded_by_silence(tmp_path, make):
    """Audio that begins after the video keeps its position in time."""
    late_audio(tmp_path / "a.mkv", make, 0.25)
    clip = read_clip(tmp_path / "a.mkv", frames=5, sample_rate=8000)
    assert (clip.waveform[:2000] == 0).all()
    assert (clip.waveform[2000:] == 1).all()
    assert len(clip.waveform) == 6000
    stretch = read_clip(tmp_path / "a.mkv", frames=5, sample_rate=8000, start=0.2, end=0.3).waveform
    assert stretch.tolist() == [0.0] * 400 + [1.0] * 400


def test_gap_is_silent_and_reported(tmp_path, make):
    """A gap in the time stamps is filled with silence, so that later audio keeps its position."""
    late_audio(tmp_path / "a.mkv", make, 0.0, gap=0.2)
    clip = read_clip(tmp_path / "a.mkv", sample_rate=8000)
    assert np.flatnonzero(clip.waveform == 0).tolist() == list(range(2400, 4000))
    assert "the audio has gaps of 0.20 s in total; they are filled with zeros" in clip.problems


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_and_infinity_are_rejected(tmp_path, poison):
    """Features would not be finite."""
    samples = sine(300, 0.5, 16000)
    samples[100] = poison
    as_wav(tmp_path / "a.wav", 16000, samples, np.float32)
    with pytest.raises(MediaError, match="NaN or infinite"):
        read_clip(tmp_path / "a.wav", sample_rate=16000)


def test_too_high_level_is_clipped_and_reported(tmp_path):
    """Float samples in the range of 16-bit integers are clipped to [-1, 1], with a note."""
    as_wav(tmp_path / "a.wav", 16000, 30000 * sine(300, 0.5, 16000), np.float32)
    clip = read_clip(tmp_path / "a.wav", sample_rate=16000)
    assert np.abs(clip.waveform).max() == 1
    assert any("times full scale" in problem for problem in clip.problems)


def test_too_long_audio_is_rejected(tmp_path, monkeypatch):
    """The memory of one clip is limited."""
    as_wav(tmp_path / "a.wav", 16000, sine(300, 1, 16000))
    monkeypatch.setattr(module, "MAX_SAMPLES", 8000)
    with pytest.raises(MediaError, match="give start and end"):
        read_clip(tmp_path / "a.wav", sample_rate=16000)
