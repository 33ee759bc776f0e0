"""Sampling and scaling of frames, and resampling of audio, that are given as arrays.

Shapes: F frames of H x W pixels, N samples.
"""

from __future__ import annotations

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.video.reformatter import VideoReformatter

from avcil.errors import InputError
from avcil.media.frame_buffer import SCALING
from avcil.media.sizes import scaled_size


def fit_frames(frames: np.ndarray, count: int, short_side: int | None) -> np.ndarray:
    """Sample `count` frames at slice centers from evenly spaced frames (F, H, W, 3) uint8, and scale them."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise InputError(f"frames must be uint8 RGB (F, H, W, 3), not {frames.dtype} {frames.shape}")
    chosen = frames[((np.arange(count) + 0.5) * len(frames) / count).astype(int)]
    height, width = chosen.shape[1:3]
    across, down = scaled_size(width, height, short_side)
    if (across, down) == (width, height):
        return chosen
    reformatter = VideoReformatter()
    scaled = [
        reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"),
            width=across,
            height=down,
            format="rgb24",
            interpolation=SCALING,
            threads=1,
        ).to_ndarray()
        for frame in chosen
    ]
    return np.stack(scaled)


def fit_waveform(waveform: np.ndarray, sample_rate: int, target_rate: int) -> np.ndarray:
    """Resample mono audio (N,) from `sample_rate` to `target_rate` Hz; float32 in [-1, 1]."""
    waveform = np.asarray(waveform, dtype=np.float32)
    if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
        raise InputError(f"the waveform must be mono (N,) of finite numbers, N above 0, not {waveform.shape}")
    if not (isinstance(sample_rate, int | np.integer) and 1 <= sample_rate <= 1_000_000):
        raise InputError(f"sample_rate must be a whole number of Hz, not {sample_rate!r}")
    waveform = np.clip(waveform, -1, 1)
    if sample_rate == target_rate:
        return waveform
    resampler = AudioResampler(format="flt", layout="mono", rate=target_rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None]), format="flt", layout="mono")
    frame.sample_rate = int(sample_rate)
    pieces = [
        piece.to_ndarray().reshape(-1) for piece in (*resampler.resample(frame), *resampler.resample(None))
    ]
    return np.concatenate(pieces)
