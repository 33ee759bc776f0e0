"""Rotation-invariant description of image cells: the symmetry of edges, and color.

Shapes: F frames, P x P pixels, G x G cells, S = G * G, K symmetry orders.

An edge has a direction theta (mod pi). Over a cell, with edge strengths m as weights,

    w_k = |sum m exp(2 i k theta)| / sum m,  k = 1..K

is the k-th circular moment: near 1 if the edges have k directions evenly distributed over the half circle (k
= 1 stripes, 2 squares, 3 triangles and six-pointed stars), near 0 for round outlines. It does not change under
rotation.
"""

from __future__ import annotations

import numpy as np

from avcil.encoders.motion import pooled

ORDERS = 4
_ORDER_FLOOR = 0.08
"""Threshold of k u_k; if all are below it, the share of the cell is `none`."""


def edge_symmetry(
    gx: np.ndarray, gy: np.ndarray, windows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(strength (F, S), shares (F, S, K + 1), slant (F, S, 2)) of each cell, from the gradients (F, P, P).

    Shares are proportional to (k u_k)^2, where u_k is w_k^2 without the contribution of lower orders; the last one is
    `none`; they sum to 1. Slant is the first moment: cosine and sine of twice the main direction.
    """
    edges = gx + 1j * gy
    strength = np.abs(edges) + 1e-6
    turn = (edges / strength) ** 2
    moments = [strength * turn]
    for _ in range(ORDERS - 1):
        moments.append(moments[-1] * turn)
    planes = [strength, *(plane for moment in moments for plane in (moment.real, moment.imag))]
    sums = pooled(np.stack(planes).astype(np.float32), windows)  # (F, S, 1 + 2 K)
    waves = sums[..., 1:] / (sums[..., :1] + 1e-4)
    seen = np.hypot(waves[..., 0::2], waves[..., 1::2]) ** 2  # w_k ** 2
    weights = (_unexplained(seen) * np.arange(1, ORDERS + 1)) ** 2
    shares = weights / (weights.sum(axis=2, keepdims=True) + _ORDER_FLOOR**2)
    none = 1 - shares.sum(axis=2, keepdims=True)
    return sums[..., 0], np.concatenate([shares, none], axis=2), waves[..., :2]


def _unexplained(seen: np.ndarray) -> np.ndarray:
    """u_k = w_k^2 times 1 - w_j^2 for every j < k that divides k.

    Stripes (order 1) also have large moments of order 2, 3 and 4.
    """
    left = seen.copy()
    for order in range(2, ORDERS + 1):
        for lower in range(1, order):
            if order % lower == 0:
                left[..., order - 1] *= 1 - seen[..., lower - 1]
    return left


def edge_color(color: np.ndarray, strength: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Red and blue minus gray (F, S, 2) of each cell, with pixels weighted by edge strength (F, P, P)."""
    minus_gray = color[..., [0, 2]] - color.mean(axis=3, keepdims=True)  # (F, P, P, 2)
    sums = pooled(np.stack([strength, strength * minus_gray[..., 0], strength * minus_gray[..., 1]]), windows)
    return sums[..., 1:] / (sums[..., :1] + 1e-4)
