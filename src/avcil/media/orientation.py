"""Orientation of frames: the display matrix of MP4 and QuickTime files, or EXIF of images.

Shapes: H x W pixels.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type

_MAX_TYPES = 64
"""Upper bound for the number of FFmpeg's side data types; version 8 has 32."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of eight orientations: swap the axes or not, then flip each axis or not."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether it contains a reflection."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def rotation(self) -> int:
        """Clockwise rotation in degrees; if `mirrored`, left and right are swapped afterwards.

        >>> Orientation(transpose=True, flip_x=True).rotation
        90
        """
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """A view (H', W', ...) of the stored frame (H, W, ...) in display orientation."""
        if self.transpose:
            frame = frame.swapaxes(0, 1)
        return frame[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation_of(matrix: bytes | None) -> tuple[Orientation, float]:
    """The nearest orientation to a display matrix, and the remaining rotation in degrees (0 for usual files).

    The matrix has nine 32-bit numbers a b u c d v x y w (ISO/IEC 14496-12, 6.2.2): a stored pixel (p, q) is
    displayed at (a p + c q, b p + d q).
    """
    if matrix is None or len(matrix) < 36:
        return Orientation(), 0.0
    a, b, _, c, d, *_ = struct.unpack("<9i", matrix[:36])
    if a * d - b * c == 0:  # a singular matrix is ignored
        return Orientation(), 0.0
    if abs(a) + abs(d) >= abs(b) + abs(c):
        residual = math.degrees(math.atan2(abs(b), abs(a)))
        return Orientation(flip_x=a < 0, flip_y=d < 0), residual
    residual = math.degrees(math.atan2(abs(a), abs(b)))
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0), residual


def display_matrix(frame: Any) -> bytes | None:
    """The display matrix of a decoded frame."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails for side data of unknown types: EXIF, views, ...
        data = _known_side_data(frame).get("DISPLAYMATRIX")
    return None if data is None else bytes(data)


def _known_side_data(frame: Any) -> Any:
    """The side data of a frame without the types that PyAV does not know."""
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    for number in sorted(set(range(_MAX_TYPES)) - {known.value for known in Type}):
        without = graph.add("sidedata", f"mode=delete:type={number}")
        last.link_to(without)
        last = without
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return graph.pull().side_data
