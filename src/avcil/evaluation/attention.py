"""What a model looks at: frames under audio-guided attention, beside the sound, for the report.

Shapes: T time slices, H x W pixels, h x w spatial cells, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avcil.evaluation.attention_example import AttentionExample
from avcil.evaluation.attention_figure import attention_figure
from avcil.evaluation.report_tables import scroll
from avcil.evaluation.svg import escape
from avcil.media.overlay import colours, png_data_uri
from avcil.media.spectrogram import log_mel

MAX_BYTES = 2_500_000
"""What all examples of a page may weigh together; those that no longer fit are counted and left out."""
MAX_FRAMES = 10
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
        "<p>Bright regions have more weight in what the network takes from a frame, guided by the sound. The network "
        "has a map for each channel; shown is their mean, weighted by how much the answer depends on each channel. "
        f"The frames of a clip share one color scale. Below them is the spectrogram of the clip's sound.{whose}</p>"
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
    attention = attention_figure(
        example.frames, example.frame_times, example.spatial, example.temporal, max_frames=MAX_FRAMES
    )
    strip = f'<figure class="plain strip">{attention}{_spectrogram(example, duration)}</figure>'
    caption = f"Mel spectrogram of the clip's sound, {duration:.1f} s, low frequencies at the bottom"
    return (
        f'<div class="example"><h3>{escape(example.label)}</h3>'
        f'<p class="sub"><span class="verdict{"" if hit else " miss"}">{escape(verdict)}</span>, probability '
        f"{100 * example.probability:.0f} %, clip {escape(example.clip_id)}</p>"
        f"{scroll(strip, f'Attention over {example.clip_id}')}"
        f'<p class="note">{caption}</p></div>'
    )


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
