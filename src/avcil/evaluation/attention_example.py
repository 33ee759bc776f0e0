"""A clip with the attention that a model had on it: the data that the report draws.

Shapes: T time slices, H x W pixels, h x w spatial cells, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionExample:
    """One clip, what the model answered, and where its attention was."""

    clip_id: str
    label: str
    predicted: str
    probability: float
    """The model's probability of `predicted`."""
    frames: Sequence[np.ndarray]
    """T frames, uint8 (H, W, 3), one for each time slice."""
    frame_times: Sequence[float]
    """Seconds into the clip of each frame."""
    spatial: np.ndarray
    """Attention (T, h, w) over each frame's places."""
    temporal: np.ndarray
    """Attention (T,) over the time slices; sums to one."""
    sound: np.ndarray
    """Mono sound (N,) of the whole clip, float32 in [-1, 1]."""
    sample_rate: int

    def __post_init__(self) -> None:
        slices = len(self.frames)
        shapes = (len(self.frame_times), len(self.spatial), len(self.temporal))
        if not slices or any(length != slices for length in shapes):
            raise InputError(
                f"attention example {self.clip_id!r}: {slices} frames need as many times, spatial maps and "
                f"temporal weights; got {shapes}"
            )
