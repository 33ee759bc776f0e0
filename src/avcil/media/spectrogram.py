"""Log-mel spectrogram for display.

Shapes: N samples, B mel bands, T columns.
"""

from __future__ import annotations

import numpy as np

from avcil.errors import InputError

WINDOW, HOP = 0.025, 0.010
"""Seconds."""
LOWEST_HERTZ = 20.0
RANGE_DB = 80.0


def log_mel(waveform: np.ndarray, sample_rate: int, bands: int = 64) -> np.ndarray:
    """Log-mel spectrogram (B, T) float32 in decibels below the loudest cell, row 0 the lowest band.

    Columns are Hann windows of `WINDOW` seconds every `HOP` seconds; column t is centered at (t + 0.5) hops. The audio
    is zero-padded on both sides, so T = ceil(N / hop). The filters are triangles of height 1, evenly spaced from
    `LOWEST_HERTZ` to half the sample rate on the mel scale m = 2595 log10(1 + f / 700) (O'Shaughnessy 1987). A cell is
    10 log10 of its power relative to the largest, at least -`RANGE_DB`.

    >>> log_mel(np.zeros(1600, np.float32), 16000).shape
    (64, 10)
    """
    if waveform.ndim != 1 or not len(waveform) or sample_rate < 1 or bands < 1:
        raise InputError(
            f"log_mel needs audio (N,), N above 0, a sample rate and bands; not {waveform.shape}"
        )
    size, step = max(2, round(WINDOW * sample_rate)), max(1, round(HOP * sample_rate))
    columns = -(-len(waveform) // step)
    padded = np.zeros(columns * step + size, np.float64)
    padded[(size - step) // 2 :][: len(waveform)] = waveform
    pieces = np.lib.stride_tricks.sliding_window_view(padded, size)[::step][:columns]  # (T, size)
    points = 1 << (size - 1).bit_length()
    power = np.abs(np.fft.rfft(pieces * np.hanning(size), points)) ** 2  # (T, points // 2 + 1)
    cells = mel_triangles(bands, points, sample_rate) @ power.T  # (B, T)
    loudest = cells.max()
    if loudest <= 0:
        return np.full(cells.shape, -RANGE_DB, np.float32)
    floor = 10.0 ** (-RANGE_DB / 10)
    return (10 * np.log10(np.maximum(cells / loudest, floor))).astype(np.float32)


def mel_triangles(bands: int, points: int, sample_rate: int) -> np.ndarray:
    """Triangular filters (B, points // 2 + 1) of height 1 over the bins of a `points`-point transform.

    A band narrower than a bin interpolates between the bins next to its center, so that no band is empty.
    """
    highest = sample_rate / 2
    mels = np.linspace(_mel(min(LOWEST_HERTZ, highest / 2)), _mel(highest), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1) * points / sample_rate  # in bins
    bins = np.arange(points // 2 + 1)
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise = (bins - low) / np.maximum(center - low, 1)
    fall = (high - bins) / np.maximum(high - center, 1)
    narrow = 1 - np.abs(bins - center)
    return np.maximum(0, np.where(high - low < 2, narrow, np.minimum(rise, fall)))


def _mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)
