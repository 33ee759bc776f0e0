"""What the page shows of one clip's answer, as HTML; every name that people chose is escaped.

F frames of H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from avcil.evaluation.attention_figure import attention_figure
from avcil.media import overlay
from avcil.media.spectrogram import log_mel
from avcil.serving.explanation import Explanation
from avcil.serving.timeline import Event
from avcil.serving.web.look import Look

TOP, LEAST, FRAMES, COLUMNS = 5, 0.005, 6, 320
"""Classes shown, the probability that those behind the second need, frames, columns of the spectrogram."""
COLOURS = 7
"""Of events, before they repeat."""
NOTHING = "nothing to answer for"
PARTS = {"audio": "sound", "visual": "picture", "audio-visual": "picture and sound"}


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
    """One clip's answer and what it rests on."""
    answer = look.explanation.answer
    strange = answer.known is False
    chip = '<p class="chip">Perhaps none of the classes it knows</p>' if strange else ""
    said, notes = _sureness(look)
    ranked = list(answer.probabilities.items())[:TOP]
    shown = [pair for place, pair in enumerate(ranked) if place < 2 or pair[1] >= LEAST]
    parts = [
        f'<p class="eyebrow">{escape(name)}</p>{chip}<h2 class="verdict">{escape(answer.label)}</h2>',
        f'<p class="soft">{escape(said)}</p>',
        _bars(shown),
        notes_html([*notes, *filter(None, [look.no_events])]),
        _modalities(look.explanation),
        _events(look.events),
        _frames(look.explanation),
        _spectrogram(look.explanation),
    ]
    return f'<article class="answer{" strange" if strange else ""}">{"".join(parts)}</article>'


def problem_html(message: str) -> str:
    """What went wrong, for people."""
    return f'<div class="problem" role="alert"><strong>That did not work:</strong> {escape(message)}</div>'


def busy_html(message: str) -> str:
    """That something is under way whose length is not known."""
    return f'<div class="hint" role="status"><p>{escape(message)}</p><div class="meter waiting"><i></i></div></div>'


def notes_html(notes: Sequence[str]) -> str:
    """A list of remarks; empty without any."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if notes else ""


def _sureness(look: Look) -> tuple[str, list[str]]:
    """A sentence on how sure the answer is and what it comes from, and the notes that are not in it."""
    answer = look.explanation.answer
    notes = [note for note in answer.notes.split("; ") if note]
    reasons = [note for note in notes if not note.startswith("answered from")]
    source = PARTS.get(answer.modality, "what there is")
    if len(reasons) < len(notes):
        source = f"the {source} alone" + (f": {'; '.join(reasons)}" if reasons else "")
        reasons = []
    if answer.known is False and answer.p_value is not None:
        whole = "As a whole, it" if look.events else "It"
        odd = f"only {100 * answer.p_value:.2g} % of the clips of known classes are as odd"
        return f"{whole} is nearest to this class, yet {odd}. Judged from {source}.", reasons
    sure = "Sure" if answer.probability > 0.9 else "Fairly sure" if answer.probability > 0.6 else "Not sure"
    return f"{sure}, from {source}.", reasons


def _bars(ranked: Sequence[tuple[str, float]]) -> str:
    rows = "".join(
        f'<li class="bar{" first" if not place else ""}"><span class="name" title="{escape(label)}">{escape(label)}'
        f'</span><span class="track"><i style="width:{100 * value:.1f}%"></i></span><b>{percent(value)}</b></li>'
        for place, (label, value) in enumerate(ranked)
    )
    return f'<ol class="bars" aria-label="Likeliest classes">{rows}</ol>'


def _modalities(explanation: Explanation) -> str:
    """What sound, picture and, of linear heads, the constant gave to the margin over the runner-up."""
    given = explanation.contributions
    total = sum(map(abs, given.values()))
    if not {"audio", "visual"} <= set(given) or not total:
        return ""
    most = max(given, key=lambda name: given[name])
    rows = "".join(
        _spoke(explanation, name, value / total, first=name == most) for name, value in given.items()
    )
    answer, runner = escape(explanation.answer.label), escape(explanation.runner_up)
    return (
        f'<h3>Sound or picture?</h3><p class="soft">How much each spoke for “{answer}” rather than “{runner}”.</p>'
        f'<ul class="bars spoke">{rows}</ul>'
    )


def _spoke(explanation: Explanation, name: str, share: float, *, first: bool) -> str:
    kind = " first" if first else " against" if share < 0 else ""
    alone = explanation.alone.get(name)
    says = f"alone: {escape(alone[0])}, {percent(alone[1])}" if alone else ""
    if name == "bias":
        says = "what it leans to before it sees and hears"
    return (
        f'<li class="bar{kind}"><span class="name">{PARTS.get(name, "beforehand")}</span><span class="track">'
        f'<i style="width:{100 * abs(share):.1f}%"></i></span><b>{percent(abs(share))} '
        f'{"against" if share < 0 else "for"}</b><span class="alone">{says}</span></li>'
    )


def _events(events: Sequence[Event]) -> str:
    if not events:
        return ""
    total = max(event.end for event in events)
    labels = list(dict.fromkeys(event.label for event in events if event.label))
    colours = {label: f"--c:var(--c{number % COLOURS})" for number, label in enumerate(labels)}
    blocks = "".join(_block(event, total, colours) for event in events)
    rows = "".join(_row(event, colours) for event in events)
    return (
        f'<h3>What happens when</h3><div class="strip" aria-hidden="true">{blocks}</div>{_axis(total)}'
        '<div class="scroll" tabindex="0" role="region" aria-label="Timeline">'
        f'<table class="events">{rows}</table></div>'
    )


def _block(event: Event, total: float, colours: dict[str, str]) -> str:
    """An event in the strip, as wide as it lasts; hatched where it is like none of the classes."""
    kind = ' class="odd"' if event.known is False else ""
    width = 100 * (event.end - event.start) / total
    colour = colours.get(event.label or "", "--c:var(--rule)")
    return f'<i{kind} style="width:{width:.2f}%;{colour}" title="{escape(event.label or NOTHING)}"></i>'


def _row(event: Event, colours: dict[str, str]) -> str:
    """An event in the table."""
    odd = event.known is False
    said = escape(event.label or NOTHING) + (" <small>perhaps none it knows</small>" if odd else "")
    colour = colours.get(event.label or "", "--c:var(--rule)")
    return (
        f'<tr><td style="{colour}"><span class="dot{" odd" if odd else ""}"></span>{said}</td>'
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
    what = "attended to" if explanation.map_kind == "attention" else "rested its answer on"
    return f'<h3>Where it looked</h3><p class="soft">Bright regions are what it {what}.</p>{figure}'


def _spectrogram(explanation: Explanation) -> str:
    sound, rate = explanation.sound, explanation.sample_rate
    if sound is None or rate is None or not len(sound):
        return ""
    levels = log_mel(np.asarray(sound, dtype=np.float32), rate)
    stride = -(-levels.shape[1] // COLUMNS)
    width = levels.shape[1] - levels.shape[1] % stride
    levels = levels[:, :width].reshape(len(levels), -1, stride).max(axis=2)
    span = float(np.ptp(levels)) or 1.0
    picture = np.rint(overlay.colours((levels[::-1] - levels.min()) / span)).astype(np.uint8)
    seconds = len(sound) / rate
    return (
        '<h3>What it heard</h3><p class="soft">Low tones at the bottom, loud ones bright.</p>'
        f'<img class="spectrogram" alt="Spectrogram of {seconds:.1f} s" src="{overlay.png_data_uri(picture)}">'
        f"{_axis(seconds)}"
    )
