"""The page's view of one prediction, as HTML; every name that people chose is escaped.

F frames of H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from avcil.inference.explanation import Explanation
from avcil.inference.timeline import Event
from avcil.media import overlay
from avcil.media.spectrogram import log_mel
from avcil.reporting.attention import GUIDES
from avcil.reporting.attention_figure import attention_figure
from avcil.reporting.contribution_figure import contribution_figure
from avcil.serve.look import Look

TOP, LEAST, FRAMES, COLUMNS = 5, 0.005, 6, 320
"""Classes shown, the probability that those behind the second need, frames, columns of the spectrogram."""
MAP_TITLES = {"attention": "Spatial attention", "sensitivity": "Spatial sensitivity"}
COLORS = 7
"""Of events, before they repeat."""
NOTHING = "no prediction"
PARTS = {"audio": "audio", "visual": "video", "audio-visual": "video and audio"}
"""What a clip has, by modality."""


def percent(fraction: float | None) -> str:
    """A fraction for people.

    >>> percent(0.123), percent(0.001), percent(0.999), percent(1.0), percent(None)
    ('12 %', '<1 %', '>99 %', '100 %', '–')
    """
    if fraction is None:
        return "–"
    if 0 < fraction < 0.005 or 0.995 <= fraction < 1:
        return "<1 %" if fraction < 0.5 else ">99 %"
    return f"{100 * fraction:.0f} %"


def answer_html(look: Look, name: str) -> str:
    """One clip's prediction and its explanation."""
    answer = look.explanation.answer
    strange = answer.known is False
    chip = '<p class="chip">Possibly an unknown class</p>' if strange else ""
    said, notes = _sureness(look)
    ranked = list(answer.probabilities.items())[:TOP]
    shown = [pair for place, pair in enumerate(ranked) if place < 2 or pair[1] >= LEAST]
    parts = [
        f'<p class="eyebrow">{escape(name)}</p>{chip}<h2 class="verdict">{escape(answer.label)}</h2>',
        f'<p class="soft">{escape(said)}</p>',
        _bars(shown),
        notes_html([*notes, *filter(None, [look.no_events])]),
        _contributions(look.explanation),
        _events(look.events),
        _frames(look.explanation),
        _spectrogram(look.explanation),
    ]
    return f'<article class="answer{" strange" if strange else ""}">{"".join(parts)}</article>'


def problem_html(message: str) -> str:
    """An error message."""
    return f'<div class="problem" role="alert"><strong>Error:</strong> {escape(message)}</div>'


def busy_html(message: str) -> str:
    """A message while something runs whose duration is not known."""
    return f'<div class="hint" role="status"><p>{escape(message)}</p><div class="meter waiting"><i></i></div></div>'


def notes_html(notes: Sequence[str]) -> str:
    """A list of remarks; empty without any."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if notes else ""


def _sureness(look: Look) -> tuple[str, list[str]]:
    """A sentence on the confidence and on what the prediction was made from, and the notes that are not in it."""
    answer = look.explanation.answer
    notes = [note for note in answer.notes.split("; ") if note]
    reasons = [note for note in notes if not note.startswith("answered from")]
    source = PARTS.get(answer.modality, answer.modality)
    if len(reasons) < len(notes):
        source = f"{source} alone" + (f" ({'; '.join(reasons)})" if reasons else "")
        reasons = []
    if answer.known is False:
        return (
            f"This is the most similar known class, but {answer.why_unknown}. Predicted from {source}.",
            reasons,
        )
    level = "High" if answer.probability > 0.9 else "Medium" if answer.probability > 0.6 else "Low"
    return f"{level} confidence. Predicted from {source}.", reasons


def _bars(ranked: Sequence[tuple[str, float]]) -> str:
    rows = "".join(
        f'<li class="bar{" first" if not place else ""}"><span class="name" title="{escape(label)}">{escape(label)}'
        f'</span><span class="track"><i style="width:{100 * value:.1f}%"></i></span><b>{percent(value)}</b></li>'
        for place, (label, value) in enumerate(ranked)
    )
    return f'<ol class="bars" aria-label="Most probable classes">{rows}</ol>'


def _contributions(explanation: Explanation) -> str:
    return f"<h3>Contributions</h3>{contribution_figure(explanation.contribution_table())}"


def _events(events: Sequence[Event]) -> str:
    if not events:
        return ""
    total = max(event.end for event in events)
    labels = list(dict.fromkeys(event.label for event in events if event.label))
    colors = {label: f"--c:var(--c{number % COLORS})" for number, label in enumerate(labels)}
    blocks = "".join(_block(event, total, colors) for event in events)
    rows = "".join(_row(event, colors) for event in events)
    return (
        f'<h3>Timeline</h3><div class="strip" aria-hidden="true">{blocks}</div>{_axis(total)}'
        '<div class="scroll" tabindex="0" role="region" aria-label="Timeline">'
        f'<table class="events">{rows}</table></div>'
    )


def _block(event: Event, total: float, colors: dict[str, str]) -> str:
    """An event in the strip, as wide as it lasts; hatched where it is like none of the classes."""
    kind = ' class="odd"' if event.known is False else ""
    width = 100 * (event.end - event.start) / total
    color = colors.get(event.label or "", "--c:var(--rule)")
    return f'<i{kind} style="width:{width:.2f}%;{color}" title="{escape(event.label or NOTHING)}"></i>'


def _row(event: Event, colors: dict[str, str]) -> str:
    """An event in the table."""
    odd = event.known is False
    said = escape(event.label or NOTHING) + (" <small>possibly unknown</small>" if odd else "")
    color = colors.get(event.label or "", "--c:var(--rule)")
    return (
        f'<tr><td style="{color}"><span class="dot{" odd" if odd else ""}"></span>{said}</td>'
        f"<td>{event.start:.1f}–{event.end:.1f} s</td>"
        f"<td>{percent(event.probability if event.label else None)}</td></tr>"
    )


def _axis(seconds: float) -> str:
    digits = 2 if seconds < 3 else 1
    ticks = "".join(f"<span>{seconds * share:.{digits}f} s</span>" for share in (0, 0.5, 1))
    return f'<div class="axis" aria-hidden="true">{ticks}</div>'


def _frames(explanation: Explanation) -> str:
    if explanation.frames is None or explanation.spatial is None or explanation.temporal is None:
        return ""
    times = None if explanation.frame_times is None else explanation.frame_times.tolist()
    figure = attention_figure(
        explanation.frames, times, explanation.spatial, explanation.temporal, max_frames=FRAMES
    )
    kind = explanation.map_kind or "sensitivity"
    return f'<h3>{MAP_TITLES[kind]}</h3><p class="soft">{GUIDES[kind]}</p>{figure}'


def _spectrogram(explanation: Explanation) -> str:
    sound, rate = explanation.sound, explanation.sample_rate
    if sound is None or rate is None or not len(sound):
        return ""
    levels = log_mel(np.asarray(sound, dtype=np.float32), rate)
    stride = -(-levels.shape[1] // COLUMNS)
    width = levels.shape[1] - levels.shape[1] % stride
    levels = levels[:, :width].reshape(len(levels), -1, stride).max(axis=2)
    span = float(np.ptp(levels)) or 1.0
    picture = np.rint(overlay.colors((levels[::-1] - levels.min()) / span)).astype(np.uint8)
    seconds = len(sound) / rate
    return (
        '<h3>Spectrogram</h3><p class="soft">Log-mel spectrogram of the audio; low frequencies at the bottom.</p>'
        f'<img class="spectrogram" alt="Spectrogram of {seconds:.1f} s" src="{overlay.png_data_uri(picture)}">'
        f"{_axis(seconds)}"
    )
