"""Attention over a clip as HTML, for the report and the web page: frames, color scale, temporal weights.

The style is in assets/attention.css. Shapes: F frames of H x W pixels, T time slices, h x w cells of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from avcil.media.attention_overlay import AttentionScale, draw_attention, relative_to_uniform
from avcil.media.overlay import png_data_uri
from avcil.utils.templates import render

STYLE = Path(__file__).with_name("assets") / "attention.css"
_MAX_FRAME_SIDE = 224
"""Pixels of a frame's longer side; larger frames are reduced by averaging."""
_MAX_NUMBERS = 12
"""With more time slices, numbers are only in the tooltips."""
_MANY = 6
"""With more time slices, numbers are hidden on narrow screens."""
_MIN_DEVIATION = 0.5
"""Minimum scale of the bars in percentage points, so that nearly equal weights look equal."""


def attention_figure(
    frames: Sequence[np.ndarray],
    times: Sequence[float] | None,
    spatial: np.ndarray,
    temporal: np.ndarray,
    *,
    max_frames: int,
) -> Markup:
    """Draw spatial attention over frames, and temporal weights.

    Args:
        frames: F frames, uint8 (H, W, 3), F at least T; the middle frame of each slice is shown.
        times: Time of each frame in seconds; None if not known.
        spatial: Attention (T, h, w); each slice sums to one.
        temporal: Weights (T,) of the slices; they sum to one.
        max_frames: Number of frames shown; of more slices, evenly spaced ones are shown.

    Returns:
        An HTML element with the class "attention".
    """
    slices = len(spatial)
    shown = np.unique(np.linspace(0, slices - 1, min(slices, max_frames)).round().astype(int))
    middles = [(2 * t + 1) * len(frames) // (2 * slices) for t in range(slices)]
    labels = ["" if times is None else _seconds(times[i]) for i in middles]
    drawn, scale = draw_attention([shrink(np.asarray(frames[middles[t]])) for t in shown], spatial[shown])
    weights = np.asarray(temporal, dtype=np.float64)
    uniform = 100 / len(weights)
    span = max(float(np.abs(100 * weights - uniform).max()), _MIN_DEVIATION)
    return render(
        "avcil.reporting",
        "attention",
        frames=[_frame(picture, labels[t], spatial[t]) for picture, t in zip(drawn, shown, strict=True)],
        scale=_legend(scale),
        bars=[_bar(100 * w, uniform, span, label) for w, label in zip(weights, labels, strict=True)],
        uniform=f"{uniform:.1f}",
        span=f"{span:.1f}",
        many=_MANY,
        max_numbers=_MAX_NUMBERS,
    )


def _seconds(time: float) -> str:
    """Format a time.

    >>> _seconds(1.04), _seconds(12.34)
    ('1.04 s', '12.3 s')
    """
    return f"{time:.2f} s" if time < 10 else f"{time:.1f} s"


def _frame(picture: np.ndarray, label: str, attention: np.ndarray) -> dict[str, object]:
    peak = float(relative_to_uniform(attention).max())
    row, column = np.unravel_index(int(np.argmax(attention)), attention.shape)
    at = f"Frame at {label}" if label else "Frame"
    alt = f"{at}; strongest {_where(int(row), int(column), attention.shape)}, {peak:.1f} times the uniform weight"
    height, width = picture.shape[:2]
    return {"alt": alt, "picture": png_data_uri(picture), "width": width, "height": height, "time": label}


def _where(row: int, column: int, shape: tuple[int, ...]) -> str:
    """Describe a cell of a grid by thirds of its height and width."""
    down = ("at the top", "in the middle", "at the bottom")[min(2, 3 * row // shape[0])]
    across = ("left", "center", "right")[min(2, 3 * column // shape[1])]
    return f"{down}, {across}"


def _legend(scale: AttentionScale) -> dict[str, str]:
    """The color scale, the values at its ends, and the position of the uniform weight in percent."""
    return {
        "low": f"{scale.low:.2f}",
        "high": f"{scale.high:.2f}",
        "uniform": f"{100 * float(scale.position(1.0)):.1f}",
        "picture": png_data_uri(scale.legend(128, 1)),
    }


def _bar(percent: float, uniform: float, span: float, label: str) -> dict[str, str]:
    """The bar of a slice: the difference of its weight from the uniform weight, in percent."""
    difference = percent - uniform
    return {
        "title": f"{label}: " * bool(label) + f"{percent:.2f} % ({difference:+z.2f})",
        "side": "up" if difference >= 0 else "down",
        "length": f"{abs(difference) / span:.3f}",
        "percent": f"{percent:.1f}",
        "difference": f"{difference:+z.1f}",
    }


def shrink(frame: np.ndarray, side: int = _MAX_FRAME_SIDE) -> np.ndarray:
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
