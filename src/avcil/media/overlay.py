"""Attention drawn over a frame, and pictures as PNG.

Shapes: H x W pixels of the frame, h x w cells of the attention.
"""

from __future__ import annotations

import base64
import functools
import struct
import zlib

import numpy as np

from avcil.errors import InputError

COLOUR_MAP = "inferno"
"""Matplotlib's map of even perceptual steps, dark to bright, also for the colour-blind."""


def heat_overlay(frame: np.ndarray, attention: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The frame (H, W, 3) uint8 with the attention (h, w) drawn over it; H, W stay.

    The attention is stretched to [0, 1] (least to most attended; a flat one draws nothing), enlarged
    bilinearly to a(y, x), and mixed in: (1 - s a) frame + s a colour(a), with s = `strength` in [0, 1].
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise InputError(f"a frame is uint8 (H, W, 3), not {frame.dtype} {frame.shape}")
    if attention.ndim != 2 or not attention.size or not np.isfinite(attention).all():
        raise InputError(f"attention is finite numbers (h, w), not {attention.shape}")
    if not 0 <= strength <= 1:
        raise InputError(f"strength must lie from 0 to 1, not {strength!r}")
    span = float(np.ptp(attention))
    level = (attention - attention.min()) / span if span > 0 else np.zeros(attention.shape)
    level = upsample(level, *frame.shape[:2])
    weight = strength * level[..., None]
    mixed = (1 - weight) * frame + weight * colours(level)
    return np.rint(mixed).astype(np.uint8)


def upsample(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """A grid (h, w) enlarged bilinearly to (height, width); cells are areas, their centres carry the values.

    >>> upsample(np.array([[0.0, 1.0]]), 1, 4).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    for axis, size in ((0, height), (1, width)):
        cells = grid.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
        low = np.minimum(at.astype(int), max(cells - 2, 0))
        high = np.minimum(low + 1, cells - 1)
        part = (at - low).reshape(-1, 1) if axis == 0 else at - low
        grid = np.take(grid, low, axis) * (1 - part) + np.take(grid, high, axis) * part
    return grid


def colours(level: np.ndarray) -> np.ndarray:
    """Colours (..., 3) in 0 to 255 of levels (...) in [0, 1]."""
    return _table()[np.rint(np.clip(level, 0, 1) * 255).astype(int)]


@functools.cache
def _table() -> np.ndarray:
    from matplotlib import colormaps  # half a second that only pictures need

    return colormaps[COLOUR_MAP](np.arange(256), bytes=True)[:, :3].astype(np.float64)


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
