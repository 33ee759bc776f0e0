"""Channels that cancel in their mean: the strongest is used, with a note."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from scipy.io import wavfile

from avcil.media import read_clip
from avcil.media.windows import read_windows

RATE = 16_000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE)
SINE = 0.5 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE)
CODECS = {"aac": "a.m4a", "libmp3lame": "a.mp3", "ac3": "a.ac3", "flac": "a.flac", "libopus": "a.ogg"}


def as_wav(path, *channels, kind=np.float32):
    samples = np.stack(channels, 1)
    wavfile.write(path, RATE, (samples * 32767).astype(kind) if kind == np.int16 else samples.astype(kind))
    return path


def encode(path, codec, layout, *channels):
    """Encode channels (N,) each at 48 kHz, which all codecs support."""
    samples = np.repeat(np.stack(channels).astype(np.float32), 3, axis=1)
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=48_000, layout=layout)
        for begin in range(0, samples.shape[1], 960):
            block = np.ascontiguousarray(samples[:, begin : begin + 960])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 48_000, begin, Fraction(1, 48_000)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def used_alone(clip, channel, count):
    note = f"the {count} channels cancel each other out (one may be inverted); only channel {channel} is used"
    return clip.problems == (note,)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_inverted_channel(tmp_path, kind):
    """The mean of a channel and its inverse is silent; the stronger channel is used."""
    clip = read_clip(as_wav(tmp_path / "a.wav", 0.9 * SINE, -SINE, kind=kind), sample_rate=RATE)
    assert used_alone(clip, 2, 2)
    np.testing.assert_allclose(clip.waveform, -SINE, atol=1e-4)


@pytest.mark.parametrize("codec", CODECS)
def test_inverted_channel_of_a_lossy_codec(tmp_path, codec):
    """After a lossy codec, the mean is noise instead of silence, and must not be used."""
    clip = read_clip(encode(tmp_path / CODECS[codec], codec, "stereo", SINE, -SINE), sample_rate=RATE)
    assert len(clip.problems) == 1
    assert "cancel" in clip.problems[0]
    assert np.abs(clip.waveform[2000:-2000]).max() > 0.4


@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_inverted_channels_in_surround(tmp_path, codec):
    """Front left and right are inverted, center and low frequencies empty, the others weak."""
    still = np.zeros(len(NOISE))
    channels = [NOISE, -NOISE, still, still, 0.3 * NOISE, -0.3 * NOISE]
    clip = read_clip(encode(tmp_path / CODECS[codec], codec, "5.1", *channels), sample_rate=RATE)
    assert len(clip.problems) == 1
    assert "the 6 channels cancel" in clip.problems[0]
    assert clip.waveform.std() > 0.2


def test_three_channels_with_zero_sum(tmp_path):
    """The mean of three channels can also be silent."""
    clip = read_clip(as_wav(tmp_path / "a.wav", -NOISE / 2, NOISE, -NOISE / 2), sample_rate=RATE)
    assert used_alone(clip, 2, 3)
    np.testing.assert_allclose(clip.waveform, NOISE, atol=1e-6)


@pytest.mark.parametrize(
    "channels",
    [
        (SINE, SINE),
        (SINE, 0 * SINE),
        (SINE, NOISE),
        (SINE, -0.45 * SINE),
        (NOISE, 0.6 * SINE - 0.5 * NOISE),
        (SINE, *[0 * SINE] * 15),
        (1e-6 * SINE, -1e-6 * SINE),
    ],
)
def test_other_channels_are_averaged(tmp_path, channels):
    """Equal, independent, single, partly inverted and silent channels: the mean, bit for bit."""
    samples = np.stack(channels, 1).astype(np.float32)
    clip = read_clip(as_wav(tmp_path / "a.wav", *channels), sample_rate=RATE)
    assert (clip.waveform == samples.mean(axis=1, dtype=np.float32)).all()
    assert clip.problems in ((), ("the audio is silent",))


def test_silence_is_measured_per_channel(tmp_path):
    """A file is silent if all channels are, not if their mean is."""
    still = 0 * SINE
    assert read_clip(as_wav(tmp_path / "a.wav", still, still), sample_rate=RATE).problems == (
        "the audio is silent",
    )
    assert (
        "the audio is silent"
        not in read_clip(as_wav(tmp_path / "a.wav", SINE, -SINE), sample_rate=RATE).problems
    )


def test_channels_are_measured_in_the_time_range(tmp_path):
    """If one half of a file is inverted, only time ranges in this half are affected."""
    half = np.concatenate([SINE, SINE]), np.concatenate([SINE, -SINE])
    path = as_wav(tmp_path / "a.wav", *half)
    assert read_clip(path, sample_rate=RATE).problems == ()
    assert read_clip(path, sample_rate=RATE, start=0.5, end=1.5).problems == ()
    assert used_alone(read_clip(path, sample_rate=RATE, start=2.5, end=3.5), 1, 2)


def test_windows_have_the_note(tmp_path):
    """The windows of a timeline get the same audio and the note."""
    path = as_wav(tmp_path / "a.wav", SINE, -SINE)
    for window in read_windows(path, [(0.0, 1.0), (1.0, 2.0)], samplings=[], sample_rate=RATE):
        assert used_alone(window, 1, 2)
        assert np.abs(window.waveform).max() > 0.4
