"""Sizes of frames with square pixels, and scaled to a short side.

Sizes are (width, height) in pixels.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeGuard

_MAX_PIXEL_ASPECT = 8
"""Pixel aspect ratios beyond this are taken for a damaged header and ignored."""


def square_pixel_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """The size with square pixels. One side is enlarged, so that no detail is lost.

    >>> square_pixel_size(720, 576, Fraction(16, 15))
    (768, 576)
    """
    if not is_plausible_aspect(pixel_aspect):
        return width, height
    if pixel_aspect > 1:
        return max(1, round(width * pixel_aspect)), height
    return width, max(1, round(height / pixel_aspect))


def is_plausible_aspect(pixel_aspect: Fraction | None) -> TypeGuard[Fraction]:
    """Whether a pixel aspect ratio (width / height) is plausible."""
    return pixel_aspect is not None and Fraction(1, _MAX_PIXEL_ASPECT) <= pixel_aspect <= _MAX_PIXEL_ASPECT


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """The size with a shorter side of `short_side` pixels and the same aspect ratio, rounded.

    >>> scaled_size(1280, 720, 224)
    (398, 224)
    """
    if short_side is None:
        return width, height
    scale = Fraction(short_side, min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
