"""The footer below the frames of an explanation video: the color scale and the temporal weights.

Pillow's built-in font is used. Shapes: W pixels wide, T time slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avcil.media.attention_overlay import AttentionScale

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND, TEXT_COLOR, _MUTED_COLOR = (18, 22, 27), (233, 236, 240), (154, 164, 177)
ABOVE_UNIFORM, BELOW_UNIFORM = (130, 177, 255), (255, 154, 98)
_MIN_DEVIATION = 0.5
"""Minimum range of the bars in percentage points, so that nearly equal weights look equal."""
_WIDTH_IN_FONT_SIZES = 28
"""Width of the footer divided by the font size."""


def footer(width: int, scale: AttentionScale, temporal: np.ndarray, current: int) -> np.ndarray:
    """Draw the footer.

    Args:
        width: W, the width of the frame.
        scale: The color scale of the frame.
        temporal: Weights (T,) of the time slices; their sum is 1.
        current: The slice of the frame; its bar is highlighted and its weight is printed.

    Returns:
        An image (H, W, 3) uint8 of even height.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = max(11, width // _WIDTH_IN_FONT_SIZES)
    image = Image.new("RGB", (width, 6 * size // 2 * 2), BACKGROUND)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    middle = width // 2
    _draw_scale(image, draw, font, size, (size // 2, middle - size), scale)
    _draw_temporal_weights(draw, font, size, (middle + size // 2, width - size // 2), temporal, current)
    return np.asarray(image)


def scale_strip(width: int, scale: AttentionScale) -> np.ndarray:
    """Draw only the color scale, for images of several clips or models.

    Args:
        width: W, the width of the image.
        scale: The color scale of the image.

    Returns:
        An image (H, W, 3) uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = max(11, width // (2 * _WIDTH_IN_FONT_SIZES))
    image = Image.new("RGB", (width, 9 * size // 2), BACKGROUND)
    font = ImageFont.load_default(size)
    _draw_scale(image, ImageDraw.Draw(image), font, size, (size, width // 2), scale)
    return np.asarray(image)


def _draw_scale(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: Font,
    size: int,
    across: tuple[int, int],
    scale: AttentionScale,
) -> None:
    from PIL import Image

    left, right = across
    top, height = size // 2 + 2, size
    image.paste(Image.fromarray(scale.legend(right - left, height)), (left, top))
    even = left + round(float(scale.position(1.0)) * (right - left - 1))
    draw.line([(even, top - 3), (even, top + height + 2)], fill=TEXT_COLOR, width=2)
    below = top + height + size // 3
    draw.text((left, below), f"{scale.low:.2f}", fill=TEXT_COLOR, font=font)
    draw.text((right, below), f"{scale.high:.2f}", fill=TEXT_COLOR, font=font, anchor="ra")
    text = "times uniform weight"
    draw.text(((left + right) / 2, below + 1.3 * size), text, fill=_MUTED_COLOR, font=font, anchor="ma")


def _draw_temporal_weights(
    draw: ImageDraw.ImageDraw,
    font: Font,
    size: int,
    across: tuple[int, int],
    temporal: np.ndarray,
    current: int,
) -> None:
    left, right = across
    reach = 3 * size // 2
    base = reach + size // 4
    percents = 100 * np.asarray(temporal, dtype=np.float64)
    differences = percents - 100 / len(percents)
    span = max(float(np.abs(differences).max()), _MIN_DEVIATION)
    column = (right - left) / len(percents)
    for number, difference in enumerate(differences.tolist()):
        end = base - reach * difference / span
        box = [
            left + (number + 0.15) * column,
            min(base, end),
            left + (number + 0.85) * column,
            max(base, end),
        ]
        color = ABOVE_UNIFORM if difference >= 0 else BELOW_UNIFORM
        dim = tuple((part + 2 * ground) // 3 for part, ground in zip(color, BACKGROUND, strict=True))
        draw.rectangle(box, fill=color if number == current else dim)
    draw.line([(left, base), (right, base)], fill=_MUTED_COLOR)
    text = f"{percents[current]:.1f} % ({differences[current]:+z.1f})"
    middle = (left + right) / 2
    draw.text((middle, base + reach + 1), text, fill=TEXT_COLOR, font=font, anchor="ma")
    draw.text(
        (middle, base + reach + 1.3 * size), "temporal weight", fill=_MUTED_COLOR, font=font, anchor="ma"
    )
