"""The grid of visual tokens: 8 time slices x 14 x 14 as released, or pooled to a coarser grid.

Shapes: T time slices, H x W spatial tokens per slice, S = H W, D width; tokens are in time-major order.
"""

from __future__ import annotations

import re

import numpy as np

from avcil.errors import InputError

RELEASED = (8, 14, 14)
WIDTH = 768

Grid = tuple[int, int, int]


def parse_grid(text: str) -> Grid:
    """Parse a grid (T, H, W) such as "8x7x7"; each number must divide that of the released grid.

    >>> parse_grid("8x7x7")
    (8, 7, 7)
    """
    match = re.fullmatch(r"(\d{1,3})x(\d{1,3})x(\d{1,3})", text.strip().lower())
    grid = tuple(map(int, match.groups())) if match else (0, 0, 0)
    if not all(n and released % n == 0 for n, released in zip(grid, RELEASED, strict=True)):
        allowed = [
            "/".join(str(n) for n in range(1, released + 1) if released % n == 0) for released in RELEASED
        ]
        raise InputError(
            f"--grid {text!r} does not divide the released grid 8x14x14. Give TxHxW with T one of "
            f"{allowed[0]} and H and W one of {allowed[1]}, for example 8x7x7 or 8x1x1"
        )
    return grid  # type: ignore[return-value]


def pool_tokens(tokens: np.ndarray, grid: Grid) -> np.ndarray:
    """Released tokens (1568, D) as (T, S, D), averaged over the area that each token of `grid` covers.

    >>> float(pool_tokens(np.arange(1568.0)[:, None], (1, 1, 1))[0, 0, 0])
    783.5
    """
    (t, h, w), (whole_t, whole_h, whole_w) = grid, RELEASED
    width = tokens.shape[-1]
    if grid == RELEASED:
        return tokens.reshape(t, h * w, width)
    blocks = tokens.reshape(t, whole_t // t, h, whole_h // h, w, whole_w // w, width)
    return blocks.mean(axis=(1, 3, 5)).reshape(t, h * w, width)
