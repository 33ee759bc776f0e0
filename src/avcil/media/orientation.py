"""Which way up a stored picture is shown: the display matrix of MP4 and QuickTime files.

Shapes: H x W pixels of the picture.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight ways to lay a picture down: swap the axes or not, then mirror either."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether it holds a reflection beside the rotation."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def rotation(self) -> int:
        """Degrees clockwise by which the stored picture is turned; if `mirrored`, left and right then swap.

        >>> Orientation(transpose=True, flip_x=True).rotation
        90
        """
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """A view (H', W', ...) of a stored picture (H, W, ...) as it is to be shown."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation_of(matrix: bytes | None) -> tuple[Orientation, float]:
    """The nearest orientation of a display matrix, and how many degrees it is off (0 but for odd files).

    The matrix holds nine 32-bit numbers a b u c d v x y w (ISO/IEC 14496-12, 6.2.2): a stored pixel (p, q) is
    shown at (a p + c q, b p + d q).
    """
    if matrix is None or len(matrix) < 36:
        return Orientation(), 0.0
    a, b, _, c, d, *_ = struct.unpack("<9i", matrix[:36])
    if a * d - b * c == 0:  # a matrix that flattens the picture says nothing
        return Orientation(), 0.0
    if abs(a) + abs(d) >= abs(b) + abs(c):
        off = math.degrees(math.atan2(abs(b), abs(a)))
        return Orientation(flip_x=a < 0, flip_y=d < 0), off
    off = math.degrees(math.atan2(abs(a), abs(b)))
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0), off
