"""An audio encoder without learned weights: the shape of the log-mel spectrogram, independent of its length.

Shapes: N samples, L analysis windows, M mel bands, G time segments, D width.

    power spectrum of 40 ms windows every 10 ms -> M mel bands -> E = log(power + floor)
    E - mean(E): removes the level of the recording
    averaged into G equal segments of time: removes the length
    2-D DCT-II over time and bands, the lowest `time_terms` x `band_terms` coefficients, standardized
    8 lowest DCT terms over bands of the mean spectrum, and of the root mean square change over 40 ms: timbre
        and roughness, which do not change with a shift in time
    four copies of the log duration

The low DCT terms describe the smooth shape of the spectrum (as in MFCCs) and its change in time. Noise is spread over
all terms, so dropping the high ones improves the signal-to-noise ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from avcil.encoders.base import AudioEncoder, check_waveform
from avcil.encoders.fixed import area_weights, cosine_basis, weight_hash
from avcil.encoders.info import EncoderInfo
from avcil.errors import InputError

_WINDOW = 640
_HOP = 160
FFT = 1024
_HERTZ = (80.0, 7600.0)
"""The range of the bands."""
TEXTURE_TERMS = 8
_MAX_SEGMENTS = 1024
_CHANGE = 4
"""Distance in windows over which change is measured."""
_DURATION_COPIES = 4
"""Number of copies of the duration, so that it has enough weight among the other features."""


class LogMel(AudioEncoder):
    """Log-mel spectrogram shape: D = time_terms * band_terms + 20."""

    name: str = "log-mel"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="no weights", purpose="spectrum and rhythm: words, tones, machines"
    )
    sample_rate = 16_000

    def __init__(
        self, *, bands: int = 64, segments: int = 16, time_terms: int = 8, band_terms: int = 16
    ) -> None:
        terms_fit = 1 <= time_terms <= segments <= _MAX_SEGMENTS
        if not (terms_fit and TEXTURE_TERMS <= band_terms <= bands <= 128):
            raise InputError(
                f"log-mel: time_terms={time_terms} must be 1 to segments={segments}, segments at most "
                f"{_MAX_SEGMENTS}, band_terms={band_terms} {TEXTURE_TERMS} to bands={bands}, bands at most 128"
            )
        self.options = {
            "bands": bands,
            "segments": segments,
            "time_terms": time_terms,
            "band_terms": band_terms,
        }
        self.width = time_terms * band_terms + 2 * TEXTURE_TERMS + _DURATION_COPIES
        self._window = np.hanning(_WINDOW).astype(np.float32)
        self._mel = mel_bands(bands, self.sample_rate, FFT)
        self._time_basis = cosine_basis(segments, time_terms)
        self._band_basis = cosine_basis(bands, band_terms)
        self._texture_basis = cosine_basis(bands, TEXTURE_TERMS)

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms at 16 kHz, each float32 (N,), N >= 1."""
        if not len(clips):
            return np.zeros((0, self.width), np.float32)
        return np.stack([self._encode_one(check_waveform(clip, self.name)) for clip in clips])

    def _weights_hash(self) -> str:
        weights = (self._window, self._mel, self._time_basis, self._band_basis, self._texture_basis)
        return weight_hash(weights)

    def _encode_one(self, waveform: np.ndarray) -> np.ndarray:
        waveform = waveform.astype(np.float32)
        padded = np.pad(waveform, (0, max(0, _WINDOW + _CHANGE * _HOP - len(waveform))))
        windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * self._window
        spectrum = np.abs(np.fft.rfft(windows, FFT)).astype(np.float32) ** 2
        power = product(spectrum, self._mel.T)  # (L, M)
        energy = np.log(power + 1e-5 * power.max() + 1e-8)
        segments = product(
            area_weights(len(energy), self.options["segments"]), energy - energy.mean()
        )  # (G, M)
        shape = (self._time_basis @ segments @ self._band_basis.T).ravel()
        seconds = len(waveform) / self.sample_rate
        duration = np.full(_DURATION_COPIES, 2 * np.log(3 * max(seconds, 1e-2)))
        return np.concatenate([standardized(shape), self._texture(energy), duration]).astype(np.float32)

    def _texture(self, energy: np.ndarray) -> np.ndarray:
        """Mean spectrum and root mean square change (2 * `TEXTURE_TERMS`,), scaled to about unit variance."""
        change = np.sqrt(np.mean((energy[_CHANGE:] - energy[:-_CHANGE]) ** 2, axis=0))
        mean = energy.mean(axis=0) - energy.mean()
        return np.concatenate([self._texture_basis @ change / 2, self._texture_basis @ mean / 3])


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right, bit-identical for any number of BLAS threads."""
    return np.einsum("ij,jk->ik", left, right)


def standardized(values: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over all of `values`; constant values give zeros."""
    centered = values - values.mean()
    return centered / (centered.std() + 1e-3)


def mel_bands(bands: int, sample_rate: int, fft: int) -> np.ndarray:
    """Triangular filters (M, fft // 2 + 1) float32, evenly spaced in mel = 2595 log10(1 + hertz / 700)."""
    first, last = 2595 * np.log10(1 + np.array(_HERTZ) / 700)
    edges = 700 * (10 ** (np.linspace(first, last, bands + 2) / 2595) - 1)
    hertz = np.arange(fft // 2 + 1) * sample_rate / fft
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)
