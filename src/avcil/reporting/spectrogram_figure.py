"""A spectrogram as an image, for the report and the web page."""

from __future__ import annotations

import numpy as np

from avcil.media.overlay import colors, png_data_uri
from avcil.media.spectrogram import log_mel


def spectrogram_uri(waveform: np.ndarray, sample_rate: int, *, max_columns: int) -> str:
    """The log-mel spectrogram of a waveform (N,) as the data URI of a PNG image, low frequencies at the bottom.

    Args:
        waveform: Samples, at least one.
        sample_rate: In Hz.
        max_columns: Width in pixels; of more columns, the maximum of neighboring ones is shown.
    """
    levels = log_mel(np.asarray(waveform, dtype=np.float32), sample_rate)
    stride = -(-levels.shape[1] // max_columns)
    width = levels.shape[1] - levels.shape[1] % stride
    levels = levels[:, :width].reshape(len(levels), -1, stride).max(axis=2)
    span = float(np.ptp(levels)) or 1.0
    return png_data_uri(np.rint(colors((levels[::-1] - levels.min()) / span)).astype(np.uint8))
