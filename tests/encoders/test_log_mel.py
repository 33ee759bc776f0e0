"""The built-in audio encoder: finite, deterministic, independent of the level, with clear errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.encoders.log_mel import LogMel, mel_bands
from avcil.errors import InputError

ENCODER = LogMel()


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 40_000), level=st.sampled_from([0.0, 1e-6, 0.1, 1.0]))
def test_finite_vectors_for_any_length_and_level(length: int, level: float) -> None:
    """Silence and audio of one sample occur in real clips."""
    vector = ENCODER.encode([level * noise(length)])
    assert vector.shape == (1, ENCODER.width)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert np.abs(vector).max() < 100


def test_batch_equals_single_clips() -> None:
    """The batch size does not change the bits of the features."""
    clips = [noise(5000, 1), noise(16_000, 2), noise(777, 3)]
    together = LogMel().encode(clips)
    assert np.array_equal(together, np.concatenate([ENCODER.encode([clip]) for clip in clips]))


def test_vectors_are_independent_of_loudness() -> None:
    """Scaling a waveform does not change its features."""
    clip = noise(16_000)
    np.testing.assert_allclose(ENCODER.encode([clip]), ENCODER.encode([clip / 2]), atol=1e-2)


def test_different_tones_differ() -> None:
    """Two tones an octave apart have different features."""
    time = np.arange(16_000) / 16_000
    low, high = ENCODER.encode([np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (500, 1000)])
    assert np.linalg.norm(low - high) > 3


def test_empty_batch() -> None:
    """An empty batch gives an array with the right width."""
    assert ENCODER.encode([]).shape == (0, ENCODER.width)


@pytest.mark.parametrize(
    "bad", [np.zeros(0, np.float32), np.zeros((2, 100), np.float32), np.full(500, np.nan, np.float32)]
)
def test_invalid_audio_is_rejected(bad: np.ndarray) -> None:
    """No sample, two channels, and NaN each give a clear message."""
    with pytest.raises(InputError, match="log-mel"):
        ENCODER.encode([bad])


def test_invalid_options_are_rejected() -> None:
    """The number of coefficients must not exceed the number of bands."""
    with pytest.raises(InputError, match="band_terms=99"):
        LogMel(band_terms=99)


def test_mel_filters_cover_the_band() -> None:
    """Between the first and last center, the triangles sum to one."""
    filters = mel_bands(20, 16_000, 1024)
    covered = filters.sum(axis=0)[np.argmax(filters[0]) + 1 : np.argmax(filters[-1])]
    np.testing.assert_allclose(covered, 1, atol=1e-5)
