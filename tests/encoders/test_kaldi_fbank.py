"""The filter bank compared with transformers' Kaldi mode and with plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import audio_utils

from avcil.encoders.base import check_waveform
from avcil.encoders.kaldi_fbank import FLOOR, fbank, pad_or_trim
from avcil.errors import InputError

RATES = [16_000, 11_430]


def speech_like(length: int, rate: int, seed: int = 0) -> np.ndarray:
    """Harmonics of changing frequency with noise and a constant offset: (N,) float64."""
    t = np.arange(length) / rate
    voice = sum(np.sin(2 * np.pi * k * (150 * t + 40 * t**2)) / k for k in range(1, 12))
    return 0.2 * voice + 0.01 * np.random.default_rng(seed).standard_normal(length) + 0.05


def by_transformers(waveform: np.ndarray, rate: int) -> np.ndarray:
    size, hop = int(rate * 0.025), int(rate * 0.010)
    filters = audio_utils.mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=128,
        min_frequency=20,
        max_frequency=rate / 2,
        sampling_rate=rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    return audio_utils.spectrogram(
        waveform,
        audio_utils.window_function(size, "hann", periodic=False),
        frame_length=size,
        hop_length=hop,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T


def in_plain_loops(waveform: np.ndarray, rate: int, fft: int = 512, bands: int = 128) -> np.ndarray:
    size, hop = int(rate * 0.025), int(rate * 0.010)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(fft // 2)) / fft)
    low, high = (1127 * math.log(1 + f / 700) for f in (20, rate / 2))
    step = (high - low) / (bands + 1)
    rows = []
    for first in range(0, len(waveform) - size + 1, hop):
        x = [float(value) for value in waveform[first : first + size]]
        mean = sum(x) / size
        x = [value - mean for value in x]
        x = [x[j] - 0.97 * x[max(j - 1, 0)] for j in range(size)]
        x = [x[j] * (0.5 - 0.5 * math.cos(2 * math.pi * j / (size - 1))) for j in range(size)]
        power = np.abs(np.array(x) @ turns) ** 2
        row = []
        for band in range(bands):
            left, center, right = (low + step * (band + k) for k in range(3))
            energy = 0.0
            for k in range(fft // 2):
                mel = 1127 * math.log(1 + k * rate / fft / 700)
                if left < mel < right:
                    part = mel - left if mel <= center else right - mel
                    energy += power[k] * part / step
            row.append(math.log(max(energy, 1.1920928955078125e-07)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("rate", RATES)
def test_equals_kaldi_mode_of_transformers(rate: int) -> None:
    """Ten seconds at the sample rates of both variants; transformers computes in float32."""
    waveform = speech_like(10 * rate, rate)
    ours, theirs = fbank(waveform, rate), by_transformers(waveform, rate)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 5e-4


@pytest.mark.parametrize("rate", RATES)
def test_equals_explicit_loops(rate: int) -> None:
    """A tenth of a second, without FFT and filter matrix, to the rounding of float64."""
    waveform = speech_like(rate // 10, rate)
    assert np.abs(fbank(waveform, rate) - in_plain_loops(waveform, rate)).max() < 1e-9


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 5000), level=st.sampled_from([0.0, 1e-4, 1.0]))
def test_number_of_windows(length: int, level: float) -> None:
    """Windows are completely inside the audio; silence has the minimum value."""
    energies = fbank(level * np.random.default_rng(0).uniform(-1, 1, length), 16_000)
    assert energies.shape == (1 + max(0, length - 400) // 160, 128)
    assert energies.min() >= math.log(FLOOR)
    assert np.isfinite(energies).all()


def test_band_without_a_frequency_bin() -> None:
    """A known property of this filter bank at 16 kHz: one of 128 bands always has the minimum value."""
    energies = fbank(speech_like(16_000, 16_000), 16_000)
    assert [band for band in range(128) if (energies[:, band] == math.log(FLOOR)).all()] == [3]


def test_spectrograms_are_truncated_or_zero_padded() -> None:
    """Ten seconds give 998 windows; the model's input has 1024."""
    long, short = np.ones((1030, 2)), np.ones((998, 2))
    assert pad_or_trim(long, 1024).shape == (1024, 2)
    assert pad_or_trim(short, 1024).sum(axis=1).tolist() == [2.0] * 998 + [0.0] * 26


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((2, 100)), np.full(500, np.nan)])
def test_invalid_audio_is_rejected(bad: np.ndarray) -> None:
    """No sample, two channels, and NaN each give a clear message."""
    with pytest.raises(InputError, match="example"):
        check_waveform(bad, "example")
