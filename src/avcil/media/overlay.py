"""Colors of a perceptually uniform color map, and pictures as PNG.

Shapes: H x W pixels.
"""

from __future__ import annotations

import base64
import functools
import struct
import zlib

import numpy as np

from avcil.errors import InputError

COLOR_MAP = "inferno"
"""Matplotlib's map of even perceptual steps, dark to bright, also for the color-blind."""


def colors(level: np.ndarray) -> np.ndarray:
    """Colors (..., 3) in 0 to 255 of levels (...) in [0, 1]."""
    return _table()[np.rint(np.clip(level, 0, 1) * 255).astype(int)]


@functools.cache
def _table() -> np.ndarray:
    from matplotlib import colormaps  # half a second that only pictures need

    return colormaps[COLOR_MAP](np.arange(256), bytes=True)[:, :3].astype(np.float64)


def enlarged(frame: np.ndarray, short_side: int) -> np.ndarray:
    """Enlarge a frame by bicubic interpolation, for looking at it.

    Args:
        frame: uint8 (H, W, 3).
        short_side: Pixels of the shorter side of the result; a larger frame keeps its size.

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
    """A picture (H, W, 3) uint8 as the bytes of a PNG file (ISO/IEC 15948: each row less the row above)."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise InputError(f"a picture is uint8 (H, W, 3), not {rgb.dtype} {rgb.shape}")
    height, width = rgb.shape[:2]
    rows = rgb.reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), 2, np.uint8)  # filter 2: "up"
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]  # modulo 256
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_data_uri(rgb: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a data URI, for pages that stand alone."""
    return "data:image/png;base64," + base64.b64encode(encode_png(rgb)).decode()
