"""Motion of image cells: a similarity transform (translation, scale, rotation) fitted to each cell of each frame.

Shapes: F frames, P x P pixels, G x G cells, S = G * G.

Brightness constancy, g_t + g_x u(x, y) + g_y v(x, y) = 0 (Horn and Schunck 1981), with the flow of a cell

    u = right + scaling * (x - cx) - rotation * (y - cy),    v = down + scaling * (y - cy) + rotation * (x - cx)

around the cell's center of edge energy (cx, cy), in the least squares sense over the cell's window: the
four-parameter form of Lucas and Kanade (1981). Averages over windows are two matrix products,
so all frames and cells are processed together.
"""

from __future__ import annotations

import numpy as np

_RIDGE = 0.03
"""Regularization of the normal equations, relative to the mean edge energy, so that flat cells have no motion."""


def pooled(channels: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Window averages of pixel channels (C, F, P, P): (F, S, C), with windows (G, P) used across and down."""
    rows = np.matmul(windows, channels)  # (C, F, G, P)
    cells = np.matmul(rows, windows.T)  # (C, F, G, G)
    return cells.reshape(len(channels), channels.shape[1], -1).transpose(1, 2, 0)


def similarity_motion(gx: np.ndarray, gy: np.ndarray, gt: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(right, down, scaling, rotation) of every cell: (F, S, 4), in pixels per frame at half the size of a cell."""
    pixels, cells = windows.shape[1], windows.shape[0]
    reach = pixels / cells / 2
    x = ((np.arange(pixels) - (pixels - 1) / 2) / reach).astype(np.float32)
    basis = np.stack([gx, gy, x * gx + x[:, None] * gy, x * gy - x[:, None] * gx])  # (4, F, P, P)
    energy = gx**2 + gy**2
    pairs = [basis[i] * basis[j] for i in range(4) for j in range(i, 4)]
    sums = pooled(np.stack([*pairs, *(basis * gt), x * energy, x[:, None] * energy]), windows)
    normal, right_side = _symmetric(sums[..., :10]), sums[..., 10:14, None]
    total = normal[..., 0, 0] + normal[..., 1, 1] + 1e-9
    moved = _recentering(sums[..., 14] / total, sums[..., 15] / total)
    normal = moved @ normal @ moved.swapaxes(-1, -2)
    strength = (total + 0.3 * total.mean())[..., None, None]
    return -np.linalg.solve(normal + _RIDGE * strength * np.eye(4), moved @ right_side)[..., 0]


def _symmetric(upper: np.ndarray) -> np.ndarray:
    """(..., 10) upper triangles to (..., 4, 4) float64."""
    full = np.zeros((*upper.shape[:-1], 4, 4))
    rows, columns = np.triu_indices(4)
    full[..., rows, columns] = upper
    full[..., columns, rows] = upper
    return full


def _recentering(cx: np.ndarray, cy: np.ndarray) -> np.ndarray:
    """Matrices (..., 4, 4) that move the center of scale and rotation from the image center to (cx, cy)."""
    change = np.zeros((*cx.shape, 4, 4))
    change[..., range(4), range(4)] = 1
    change[..., 2, 0], change[..., 2, 1] = -cx, -cy
    change[..., 3, 0], change[..., 3, 1] = cy, -cx
    return change
