"""A perceptually uniform color map, and images as PNG.

Shapes: H x W pixels.
"""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path

import numpy as np

from avcil.errors import InputError

_COLOR_MAP = Path(__file__).with_name("inferno.npy")
"""Matplotlib's color map "inferno", which color-blind readers can use: uint8 (256, 3), CC0."""


def colors(level: np.ndarray) -> np.ndarray:
    """Colors (..., 3) in 0 to 255 of levels (...) in [0, 1]."""
    return _table()[np.rint(np.clip(level, 0, 1) * 255).astype(int)]


@functools.cache
def _table() -> np.ndarray:
    return np.load(_COLOR_MAP, allow_pickle=False).astype(np.float64)


def enlarged(frame: np.ndarray, short_side: int) -> np.ndarray:
    """Enlarge a frame for display, by bicubic interpolation.

    Args:
        frame: uint8 (H, W, 3).
        short_side: Pixels of the shorter side of the result; larger frames are not resized.

    Returns:
        A frame (H', W', 3) uint8, H' and W' even, as video encoders need.

    >>> enlarged(np.zeros((48, 65, 3), np.uint8), 96).shape
    (96, 130, 3)
    """
    from PIL import Image

    height, width = frame.shape[:2]
    factor = max(1.0, short_side / min(height, width))
    height, width = (max(2, round(length * factor) // 2 * 2) for length in (height, width))
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def encode_png(rgb: np.ndarray) -> bytes:
    """Encode an image (H, W, 3) uint8 as PNG."""
    from PIL import Image

    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise InputError(f"an image must be uint8 (H, W, 3), not {rgb.dtype} {rgb.shape}")
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "png")
    return file.getvalue()


def png_data_uri(rgb: np.ndarray) -> str:
    """An image (H, W, 3) uint8 as a data URI, for self-contained pages."""
    return "data:image/png;base64," + base64.b64encode(encode_png(rgb)).decode()
