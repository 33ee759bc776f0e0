"""Kaldi's log-mel filterbanks in float64, the input of audio transformers.

Shapes: N samples, L windows, W samples per window, M mel bands.

    windows of 25 ms every 10 ms that are completely inside the signal; each minus its mean
    x[j] - 0.97 x[j - 1] (pre-emphasis, x[-1] = x[0]), times a Hann window
    |FFT|^2, zero-padded to the next power of two
    triangles evenly spaced in mel = 1127 ln(1 + hertz / 700) between 20 Hz and half the sample rate
    natural logarithm, at least that of float32's epsilon

Without dither and energy, so that it is deterministic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_PREEMPHASIS = 0.97
_LOWEST = 20.0
"""Lower end of the first triangle in Hz."""
FLOOR = float(np.finfo(np.float32).eps)


def fbank(waveform: np.ndarray, sample_rate: int, bands: int = 128) -> np.ndarray:
    """Log energies (L, M) float64 of mono audio (N,) in [-1, 1]; audio shorter than a window is padded.

    >>> fbank(np.zeros(160_000), 16_000).shape
    (998, 128)
    """
    size, hop = sample_rate * 25 // 1000, sample_rate * 10 // 1000
    waveform = np.pad(np.asarray(waveform, np.float64), (0, max(0, size - len(waveform))))
    windows = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop]  # (L, W)
    windows = windows - windows.mean(axis=1, keepdims=True)
    before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
    fft = 1 << (size - 1).bit_length()
    power = np.abs(np.fft.rfft((windows - _PREEMPHASIS * before) * np.hanning(size), fft)) ** 2
    return np.log(np.maximum(power @ _mel_triangles(bands, sample_rate, fft).T, FLOOR))


@lru_cache(maxsize=8)
def _mel_triangles(bands: int, sample_rate: int, fft: int) -> np.ndarray:
    """Triangular filters (M, fft // 2 + 1) float64, linear in mel, not in Hz."""
    lowest, highest = _mel(np.array([_LOWEST, sample_rate / 2]))
    edges = np.linspace(lowest, highest, bands + 2)
    mels = _mel(np.arange(fft // 2 + 1) * sample_rate / fft)
    rising = (mels - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - mels) / np.diff(edges)[1:, None]
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    triangles[:, -1] = 0.0  # Kaldi omits the bin at half the sample rate
    triangles.setflags(write=False)
    return triangles


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127 * np.log(1 + hertz / 700)


def pad_or_trim(energies: np.ndarray, length: int) -> np.ndarray:
    """The first `length` windows (length, M); a shorter spectrogram is zero-padded."""
    return np.pad(energies[:length], ((0, max(0, length - len(energies))), (0, 0)))
