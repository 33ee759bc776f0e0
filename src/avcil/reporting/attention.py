"""The report's section with explanations of test clips: attention over frames, spectrogram, contributions.

Shapes: T time slices, H x W pixels, h x w spatial cells, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avcil.inference.attention_example import AttentionExample
from avcil.inference.contribution_table import SIGNS
from avcil.reporting.attention_figure import attention_figure
from avcil.reporting.contribution_figure import contribution_figure
from avcil.reporting.report_tables import scroll
from avcil.reporting.spectrogram_figure import spectrogram_uri
from avcil.reporting.svg import escape
from avcil.runs.run_files import RunRecord

MAX_BYTES = 2_500_000
"""Size limit of all examples of a page. Further examples are omitted, with a note."""
MAX_FRAMES = 10
_MAX_COLUMNS = 600
"""Width of a spectrogram in pixels."""
GUIDES = {
    "attention": (
        "Colors show the audio-guided spatial attention: bright regions have more weight in the visual feature of a "
        "frame. The network has one map for each channel. The map shown is their mean, weighted by the influence of "
        "each channel on the prediction."
    ),
    "sensitivity": (
        "The model has no attention. Colors show its sensitivity: bright regions have more influence on the score "
        "difference between the predicted class and the second most probable one."
    ),
}
"""Explanations of the maps, by kind."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedRun:
    """Explained predictions of one run's model."""

    record: RunRecord | None = None
    """None if no run can be explained."""
    examples: Sequence[AttentionExample] = ()
    note: str | None = None
    """Why there are no examples, or fewer than requested, as a phrase: "the clips were moved"."""


def attention_section(explained: Sequence[tuple[str, ExplainedRun]]) -> str:
    """The section as HTML; empty if there is neither an example nor a note.

    Args:
        explained: The name of each run in the report, and its explanations.
    """
    parts, size = [], 0
    for name, run in explained:
        part, size = _run(name, run, size)
        parts.append(part)
    if not any(parts):
        return ""
    return f'<section id="attention"><h2>Explanations of test clips</h2>{"".join(parts)}</section>'


def _run(name: str, run: ExplainedRun, size: int) -> tuple[str, int]:
    """The examples of one run, and the size of the section with them; `size` is the size before."""
    parts: list[str] = []
    note = run.note
    for example in run.examples:
        part = _example(example)
        if size + len(part) > MAX_BYTES:
            note = f"{len(run.examples) - len(parts)} more would exceed the size limit of the page"
            break
        size += len(part)
        parts.append(part)
    if not parts and not note:
        return "", size
    heading = f"<h3>{escape(name)}</h3>" if name else ""
    guide = (
        f"<p>{GUIDES[run.examples[0].map_kind]} All frames of a clip share one color scale. {_meaning(run)}</p>"
        if parts
        else ""
    )
    subject = "Not all clips are" if parts else "No clip is"
    missing = f'<p class="note">{subject} shown: {escape(note.rstrip("."))}.</p>' if note else ""
    return heading + guide + "".join(parts) + missing, size


def _meaning(run: ExplainedRun) -> str:
    """The explanation of contributions."""
    tables = [example.contributions for example in run.examples if example.contributions is not None]
    meaning = next((table.meaning for table in tables if table.meaning), "")
    return f"{SIGNS} {meaning}" if meaning else ""


def _example(example: AttentionExample) -> str:
    is_correct = example.label == example.predicted
    verdict = "correct" if is_correct else f"predicted: {example.predicted}"
    duration = len(example.waveform) / example.sample_rate
    attention = attention_figure(
        example.frames, example.frame_times, example.spatial, example.temporal, max_frames=MAX_FRAMES
    )
    strip = f'<figure class="plain strip">{attention}{_spectrogram(example, duration)}</figure>'
    caption = f"Log-mel spectrogram of the audio, {duration:.1f} s; low frequencies at the bottom."
    table = example.contributions
    contributions = "" if table is None else contribution_figure(table, with_meaning=False)
    return (
        f'<div class="example"><h4>{escape(example.label)}</h4>'
        f'<p class="sub"><span class="verdict{"" if is_correct else " miss"}">{escape(verdict)}</span>, probability '
        f"{100 * example.probability:.0f} %, clip {escape(example.clip_id)}</p>"
        f"{scroll(strip, f'Attention over {example.clip_id}')}"
        f'<p class="note">{caption}</p>{contributions}</div>'
    )


def _spectrogram(example: AttentionExample, duration: float) -> str:
    uri = spectrogram_uri(example.waveform, example.sample_rate, max_columns=_MAX_COLUMNS)
    return f'<img class="spectrogram" alt="Spectrogram of {duration:.1f} seconds of audio" src="{uri}">'
