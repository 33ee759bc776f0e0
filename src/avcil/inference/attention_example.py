"""The data of one explained prediction in the report.

Shapes: T time slices, H x W pixels, h x w spatial cells, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avcil.errors import InputError
from avcil.inference.contribution_table import ContributionTable


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionExample:
    """A clip, its prediction, the attention or sensitivity map, and the contributions."""

    clip_id: str
    label: str
    predicted: str
    probability: float
    """The model's probability of `predicted`."""
    frames: Sequence[np.ndarray]
    """T frames, uint8 (H, W, 3), one for each time slice."""
    frame_times: Sequence[float]
    """Time of each frame in seconds."""
    spatial: np.ndarray
    """Map (T, h, w) over the cells of each slice; each slice sums to one."""
    temporal: np.ndarray
    """Weights (T,) of the time slices; they sum to one."""
    waveform: np.ndarray
    """Mono waveform (N,) of the clip, float32 in [-1, 1]."""
    sample_rate: int
    """In hertz."""
    map_kind: Literal["attention", "sensitivity"] = "attention"
    """Kind of the map and the weights."""
    contributions: ContributionTable | None = None

    def __post_init__(self) -> None:
        slices = len(self.frames)
        shapes = (len(self.frame_times), len(self.spatial), len(self.temporal))
        if not slices or any(length != slices for length in shapes):
            raise InputError(
                f"attention example {self.clip_id!r}: {slices} frames need as many times, spatial maps and "
                f"temporal weights; there are {shapes}"
            )
