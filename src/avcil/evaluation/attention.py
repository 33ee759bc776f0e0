"""What a model looks at: frames under audio-guided attention, beside the sound, for the report.

Shapes: T time slices, H x W pixels, h x w spatial cells, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avcil.evaluation.attention_example import AttentionExample
from avcil.evaluation.report_tables import scroll
from avcil.evaluation.svg import escape
from avcil.media.overlay import colours, heat_overlay, png_data_uri
from avcil.media.spectrogram import log_mel

MAX_BYTES = 2_500_000
"""What all examples of a page may weigh together; those that no longer fit are counted and left out."""
MAX_FRAMES = 10
MAX_FRAME_SIDE = 224
"""Pixels of a frame's longer side; larger frames are made smaller by averaging."""
MAX_COLUMNS = 600
"""Columns of the spectrogram's picture."""


def attention_section(examples: Sequence[AttentionExample], run: str | None, note: str | None) -> str:
    """The section of the report; empty where there is neither an example nor a note on why there is none.

    `note` is a phrase: "the clips were moved".
    """
    if not examples and not note:
        return ""
    parts, weight = [], 0
    for example in examples:
        part = _example(example)
        weight += len(part)
        if weight > MAX_BYTES:
            note = f"{len(examples) - len(parts)} more would make the page too heavy"
            break
        parts.append(part)
    whose = f" The run is {escape(run)}." if run else ""
    guide = (
        "<p>Brighter places weigh more in what the network takes from a frame, guided by the sound. Of its "
        "many maps, one a channel, those count that the answer rests on; each frame's colours reach from its "
        "least to its most attended place. The bars are the weights of the "
        f"moments, above the spectrogram of the clip's sound.{whose}</p>"
    )
    kind = "Not every clip is" if parts else "No clip is"
    text = escape((note or "").rstrip("."))
    words = f'<p class="note">{kind} drawn here: {text}.</p>' if note else ""
    body = (guide if parts else "") + "".join(parts) + words
    return f'<section id="attention"><h2>What the model looks at</h2>{body}</section>'


def _example(example: AttentionExample) -> str:
    hit = example.label == example.predicted
    verdict = "recognised" if hit else f"taken for {example.predicted}"
    duration = len(example.sound) / example.sample_rate
    strip = f"{_frames(example)}{_moments(example)}{_spectrogram(example, duration)}"
    strip = f'<figure class="plain strip">{strip}</figure>'
    caption = (
        f"Mel spectrogram, {duration:.1f} s, low sounds at the bottom; above it, the weight of each moment "
        "in percent"
    )
    return (
        f'<div class="example"><h3>{escape(example.label)}</h3>'
        f'<p class="sub"><span class="verdict{"" if hit else " miss"}">{escape(verdict)}</span>, probability '
        f"{100 * example.probability:.0f} %, clip {escape(example.clip_id)}</p>"
        f"{scroll(strip, f'Attention over {example.clip_id}')}"
        f'<p class="note">{caption}</p></div>'
    )


def _frames(example: AttentionExample) -> str:
    """The frames under their attention, at most `MAX_FRAMES` of them, evenly spaced."""
    slices = len(example.frames)
    shown = np.unique(np.linspace(0, slices - 1, min(slices, MAX_FRAMES)).round().astype(int))
    cells = []
    for t in shown:
        picture = heat_overlay(shrink(np.asarray(example.frames[t])), np.asarray(example.spatial[t]))
        time = f"{example.frame_times[t]:.1f} s"
        row, column = np.unravel_index(int(np.argmax(example.spatial[t])), example.spatial[t].shape)
        alt = f"Frame at {time}; attention is strongest {_where(row, column, example.spatial[t].shape)}"
        cells.append(
            f'<div><img alt="{alt}" src="{png_data_uri(picture)}" width="{picture.shape[1]}" '
            f'height="{picture.shape[0]}"><div class="time">{time}</div></div>'
        )
    return f'<div class="row">{"".join(cells)}</div>'


def _where(row: int, column: int, shape: tuple[int, ...]) -> str:
    """A place of a grid in words: thirds of its height and width."""
    down = ("at the top", "in the middle", "at the bottom")[min(2, 3 * row // shape[0])]
    across = ("left", "centre", "right")[min(2, 3 * column // shape[1])]
    return f"{down}, {across}"


def _moments(example: AttentionExample) -> str:
    weights = np.asarray(example.temporal, dtype=np.float64)
    most = weights.max() or 1.0
    figures = len(weights) <= 16
    bars = ""
    for w in weights:
        text = f"{100 * w:.0f}" if figures else ""
        bars += f'<div title="{100 * w:.1f} %">{text}<i style="--v:{w / most:.3f}"></i></div>'
    words = ", ".join(f"{100 * w:.0f}" for w in weights)
    label = f"Weights of the moments in percent: {words}"
    return f'<div class="row bars" role="img" aria-label="{label}">{bars}</div>'


def _spectrogram(example: AttentionExample, duration: float) -> str:
    levels = log_mel(np.asarray(example.sound, dtype=np.float32), example.sample_rate)
    stride = -(-levels.shape[1] // MAX_COLUMNS)
    width = levels.shape[1] - levels.shape[1] % stride
    levels = levels[:, :width].reshape(len(levels), -1, stride).max(axis=2)
    low, high = float(levels.min()), float(levels.max())
    scaled = (levels - low) / (high - low) if high > low else np.zeros_like(levels)
    picture = np.rint(colours(scaled[::-1])).astype(np.uint8)
    alt = f"Spectrogram of {duration:.1f} seconds of sound"
    return f'<img class="spectrogram" alt="{alt}" src="{png_data_uri(picture)}">'


def shrink(frame: np.ndarray, side: int = MAX_FRAME_SIDE) -> np.ndarray:
    """A frame (H, W, 3) uint8 made smaller by averaging whole blocks until its longer side is `side` or less.

    >>> shrink(np.zeros((480, 640, 3), np.uint8)).shape
    (160, 213, 3)
    """
    block = -(-max(frame.shape[:2]) // side)
    height, width = (max(1, length // block) for length in frame.shape[:2])
    cut = frame[: height * block, : width * block].astype(np.float64)
    if block == 1 or min(frame.shape[:2]) < block:
        return frame
    return np.rint(cut.reshape(height, block, width, block, 3).mean(axis=(1, 3))).astype(np.uint8)
