"""Attention maps drawn over frames, with one color scale for all frames of a clip.

Values are multiples of the uniform weight 1 / S.

Shapes: F frames of H x W pixels, T time slices, h x w cells of a map, S = h w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avcil.errors import InputError
from avcil.media.overlay import colors

_OPACITY = (0.15, 0.75)
"""Opacity of the color at the low and the high end of the scale."""
MIN_SPAN = 0.1
"""Minimum range of the scale, so that noise in a uniform map is not visible."""
_GRAY = 128


@dataclass(frozen=True, kw_only=True)
class AttentionScale:
    """The values at the ends of the color scale, as multiples of the uniform weight."""

    low: float
    high: float

    @classmethod
    def of(cls, maps: np.ndarray) -> AttentionScale:
        """The scale from the smallest to the largest value of maps (T, h, w); each map sums to 1.

        Raises:
            InputError: `maps` is empty, not finite, or does not have three dimensions.
        """
        if maps.ndim != 3 or not maps.size or not np.isfinite(maps).all():
            raise InputError(f"attention maps are finite numbers (T, h, w), not {maps.shape}")
        relative = relative_to_uniform(maps)
        low, high = float(relative.min()), float(relative.max())
        missing = max(0.0, MIN_SPAN - (high - low))
        return cls(low=max(0.0, low - missing / 2), high=high + missing / 2)

    def position(self, value: np.ndarray | float) -> np.ndarray:
        """Positions of values on the scale, from 0 (low) to 1 (high), clipped."""
        return np.clip((np.asarray(value, dtype=np.float64) - self.low) / (self.high - self.low), 0.0, 1.0)

    def legend(self, width: int, height: int) -> np.ndarray:
        """The scale drawn over a gray frame: (height, width, 3) uint8, from low to high."""
        gray = np.full((height, width, 3), _GRAY, np.uint8)
        return _mixed(gray, np.broadcast_to(np.linspace(0, 1, width), (height, width)))


def relative_to_uniform(maps: np.ndarray) -> np.ndarray:
    """Maps (..., h, w), each of sum 1, as multiples of the uniform weight."""
    return maps * (maps.shape[-2] * maps.shape[-1])


def draw_attention(
    frames: Sequence[np.ndarray], maps: np.ndarray, scale: AttentionScale | None = None
) -> tuple[list[np.ndarray], AttentionScale]:
    """Draw attention over frames.

    Args:
        frames: F images, uint8 (H, W, 3). Frame i belongs to slice i T // F.
        maps: Attention (T, h, w); the map of each slice sums to 1.
        scale: The color scale, to compare clips or models; None computes it from `maps`.

    Returns:
        The drawn frames, uint8 (H, W, 3), and their color scale.

    Raises:
        InputError: Frames or maps have wrong shapes or dtypes, or a map is not finite.
    """
    scale = scale or AttentionScale.of(maps)
    relative = relative_to_uniform(maps)
    drawn = []
    for number, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise InputError(f"a frame is uint8 (H, W, 3), not {frame.dtype} {frame.shape}")
        values = enlarge(relative[number * len(maps) // len(frames)], *frame.shape[:2])
        drawn.append(_mixed(frame, scale.position(values)))
    return drawn, scale


def enlarge(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """A grid (h, w) interpolated by cubic convolution (Catmull-Rom, Keys 1981) to (height, width).

    Values are located at the centers of cells; the outer cells are repeated beyond the border.

    >>> enlarge(np.array([[0.0, 1.0]]), 1, 4).round(3).tolist()
    [[-0.07, 0.203, 0.797, 1.07]]
    """
    return _interpolation(grid.shape[0], height) @ grid @ _interpolation(grid.shape[1], width).T


def _interpolation(cells: int, size: int) -> np.ndarray:
    """Weights (size, cells) of the cells in each interpolated value."""
    at = (np.arange(size) + 0.5) * cells / size - 0.5
    first = np.floor(at).astype(int)
    t = at - first
    taps = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    weights = np.zeros((size, cells))
    for offset, tap in enumerate(taps, start=-1):
        np.add.at(weights, (np.arange(size), np.clip(first + offset, 0, cells - 1)), tap)
    return weights


def _mixed(frame: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Blend colors of positions (H, W) in [0, 1] over the frame; opacity grows with the position."""
    opacity = (_OPACITY[0] + (_OPACITY[1] - _OPACITY[0]) * position)[..., None]
    return np.rint((1 - opacity) * frame + opacity * colors(position)).astype(np.uint8)
