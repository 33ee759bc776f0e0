"""Attention over a clip as HTML, the same in the report and on the page: frames, color scale, temporal weights.

The style is assets/attention.css. Shapes: F frames of H x W pixels, T time slices, h x w cells of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from avcil.media.attention_overlay import AttentionScale, draw_attention, relative_to_even
from avcil.media.overlay import png_data_uri
from avcil.utils.templates import render

STYLE = Path(__file__).with_name("assets") / "attention.css"
MAX_FRAME_SIDE = 224
"""Pixels of a frame's longer side; larger frames are reduced by averaging."""
MAX_NUMBERS = 12
"""Time slices up to which each has its numbers written; a tooltip has them in any case."""
MANY = 6
"""Time slices above which a phone has no room for numbers."""
MIN_DEVIATION = 0.5
"""Percentage points that the bars span at least, so that equal weights look equal."""


def attention_figure(
    frames: Sequence[np.ndarray],
    times: Sequence[float] | None,
    spatial: np.ndarray,
    temporal: np.ndarray,
    *,
    max_frames: int,
) -> Markup:
    """Draw where and when a model attended.

    Args:
        frames: F pictures, uint8 (H, W, 3), F at least T; the one in the middle of a slice is shown for it.
        times: seconds into the clip of each frame; None if not known.
        spatial: attention (T, h, w), each slice's summing to one.
        temporal: weights (T,) of the slices, summing to one.
        max_frames: how many frames are shown; of more slices, evenly spaced ones.

    Returns:
        HTML with the class "attention".
    """
    slices = len(spatial)
    shown = np.unique(np.linspace(0, slices - 1, min(slices, max_frames)).round().astype(int))
    middles = [(2 * t + 1) * len(frames) // (2 * slices) for t in range(slices)]
    labels = ["" if times is None else _seconds(times[i]) for i in middles]
    drawn, scale = draw_attention([shrink(np.asarray(frames[middles[t]])) for t in shown], spatial[shown])
    weights = np.asarray(temporal, dtype=np.float64)
    uniform = 100 / len(weights)
    span = max(float(np.abs(100 * weights - uniform).max()), MIN_DEVIATION)
    return render(
        "avcil.reporting",
        "attention",
        frames=[_frame(picture, labels[t], spatial[t]) for picture, t in zip(drawn, shown, strict=True)],
        scale=_legend(scale),
        bars=[_bar(100 * w, uniform, span, label) for w, label in zip(weights, labels, strict=True)],
        uniform=f"{uniform:.1f}",
        span=f"{span:.1f}",
        many=MANY,
        max_numbers=MAX_NUMBERS,
    )


def _seconds(time: float) -> str:
    """A position in a clip.

    >>> _seconds(1.04), _seconds(12.34)
    ('1.04 s', '12.3 s')
    """
    return f"{time:.2f} s" if time < 10 else f"{time:.1f} s"


def _frame(picture: np.ndarray, label: str, attention: np.ndarray) -> dict[str, object]:
    peak = float(relative_to_even(attention).max())
    row, column = np.unravel_index(int(np.argmax(attention)), attention.shape)
    at = f"Frame at {label}" if label else "Frame"
    alt = f"{at}; strongest {_where(int(row), int(column), attention.shape)}, {peak:.1f} times the uniform weight"
    height, width = picture.shape[:2]
    return {"alt": alt, "picture": png_data_uri(picture), "width": width, "height": height, "time": label}


def _where(row: int, column: int, shape: tuple[int, ...]) -> str:
    """A cell of a grid in words: thirds of its height and width."""
    down = ("at the top", "in the middle", "at the bottom")[min(2, 3 * row // shape[0])]
    across = ("left", "center", "right")[min(2, 3 * column // shape[1])]
    return f"{down}, {across}"


def _legend(scale: AttentionScale) -> dict[str, str]:
    """The color scale with the values of its ends, and the position of the uniform weight in percent."""
    return {
        "low": f"{scale.low:.2f}",
        "high": f"{scale.high:.2f}",
        "uniform": f"{100 * float(scale.position(1.0)):.1f}",
        "picture": png_data_uri(scale.legend(128, 1)),
    }


def _bar(percent: float, uniform: float, span: float, label: str) -> dict[str, str]:
    """How far the weight of a slice is above or below the uniform one, all in percent."""
    difference = percent - uniform
    return {
        "title": f"{label}: " * bool(label) + f"{percent:.2f} % ({difference:+z.2f})",
        "side": "up" if difference >= 0 else "down",
        "length": f"{abs(difference) / span:.3f}",
        "percent": f"{percent:.1f}",
        "difference": f"{difference:+z.1f}",
    }


def shrink(frame: np.ndarray, side: int = MAX_FRAME_SIDE) -> np.ndarray:
    """A frame (H, W, 3) uint8 reduced by averaging whole blocks until its longer side is `side` or less.

    >>> shrink(np.zeros((480, 640, 3), np.uint8)).shape
    (160, 213, 3)
    """
    block = -(-max(frame.shape[:2]) // side)
    height, width = (max(1, length // block) for length in frame.shape[:2])
    cut = frame[: height * block, : width * block].astype(np.float64)
    if block == 1 or min(frame.shape[:2]) < block:
        return frame
    return np.rint(cut.reshape(height, block, width, block, 3).mean(axis=(1, 3))).astype(np.uint8)
