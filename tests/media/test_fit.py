"""Clips given as arrays are converted to the input of an encoder."""

from __future__ import annotations

import numpy as np
import pytest

from avcil.errors import InputError
from avcil.media.fit import fit_frames, fit_waveform


def test_frames_are_selected_and_resized():
    """Frames at slice centers with the requested short side; frames of this size are unchanged."""
    frames = np.stack([np.full((40, 60, 3), 10 * i, np.uint8) for i in range(8)])
    assert fit_frames(frames, 4, None)[:, 0, 0, 0].tolist() == [10, 30, 50, 70]
    small = fit_frames(frames, 4, 20)
    assert small.shape == (4, 20, 30, 3)
    assert small[:, 5, 5, 0].tolist() == [10, 30, 50, 70]
    assert fit_frames(frames[:1], 4, None)[:, 0, 0, 0].tolist() == [0] * 4


def test_audio_is_resampled():
    """A tone keeps its frequency and length; at the same rate it is unchanged; values beyond full scale are clipped."""
    tone = np.sin(2 * np.pi * 500 * np.arange(44_100) / 44_100).astype(np.float32)
    low = fit_waveform(tone, 44_100, 16_000)
    assert abs(len(low) - 16_000) <= 2
    assert np.abs(np.fft.rfft(low[:16_000])).argmax() == 500
    np.testing.assert_array_equal(fit_waveform(2 * tone, 16_000, 16_000), np.clip(2 * tone, -1, 1))


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 3)), np.zeros((0, 4, 4, 3), np.uint8)]
)
def test_invalid_frames(frames):
    """The error has the required shape."""
    with pytest.raises(InputError, match=r"uint8 RGB \(F, H, W, 3\)"):
        fit_frames(frames, 4, None)


def test_invalid_waveforms():
    """Stereo, no samples, NaN, and an invalid sample rate are errors."""
    for waveform in (np.zeros((2, 4)), np.zeros(0), np.array([np.nan])):
        with pytest.raises(InputError, match="must be mono"):
            fit_waveform(waveform, 8000, 8000)
    with pytest.raises(InputError, match="whole number of Hz"):
        fit_waveform(np.zeros(4), 0, 8000)
