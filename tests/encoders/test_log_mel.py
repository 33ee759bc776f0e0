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
def test_any_length_and_level_gives_a_finite_vector(length: int, level: float) -> None:
    """Silence and sounds of one sample come up in real clips and must not poison a store."""
    vector = ENCODER.encode([level * noise(length)])
    assert vector.shape == (1, ENCODER.width)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert np.abs(vector).max() < 100


def test_batch_equals_one_at_a_time_bit_for_bit() -> None:
    """How clips are grouped into batches is no part of the features."""
    clips = [noise(5000, 1), noise(16_000, 2), noise(777, 3)]
    together = LogMel().encode(clips)
    assert np.array_equal(together, np.concatenate([ENCODER.encode([clip]) for clip in clips]))


def test_loudness_does_not_matter() -> None:
    """A recording twice as loud holds the same words."""
    clip = noise(16_000)
    np.testing.assert_allclose(ENCODER.encode([clip]), ENCODER.encode([clip / 2]), atol=1e-2)


def test_other_sounds_give_other_vectors() -> None:
    """Two tones an octave apart have different features."""
    time = np.arange(16_000) / 16_000
    low, high = ENCODER.encode([np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (500, 1000)])
    assert np.linalg.norm(low - high) > 3


def test_nothing_gives_nothing() -> None:
    """An empty batch has the right width."""
    assert ENCODER.encode([]).shape == (0, ENCODER.width)


@pytest.mark.parametrize(
    "bad", [np.zeros(0, np.float32), np.zeros((2, 100), np.float32), np.full(500, np.nan, np.float32)]
)
def test_unusable_sound_is_refused(bad: np.ndarray) -> None:
    """No sample, two channels, and NaN each get a clear message."""
    with pytest.raises(InputError, match="log-mel"):
        ENCODER.encode([bad])


def test_wrong_options_are_refused() -> None:
    """More terms than there are bands cannot be had."""
    with pytest.raises(InputError, match="band_terms=99"):
        LogMel(band_terms=99)


def test_mel_filters_cover_the_band() -> None:
    """Between the first and last center the triangles sum to one."""
    filters = mel_bands(20, 16_000, 1024)
    covered = filters.sum(axis=0)[np.argmax(filters[0]) + 1 : np.argmax(filters[-1])]
    np.testing.assert_allclose(covered, 1, atol=1e-5)
