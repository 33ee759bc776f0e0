"""What the page shows, as HTML; every name that people chose is escaped.

F frames of H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from avcil.evaluation.attention import shrink
from avcil.media.overlay import colours, png_data_uri
from avcil.media.spectrogram import log_mel
from avcil.serving.explanation import Explanation
from avcil.serving.timeline import Event
from avcil.serving.web.look import Look
from avcil.serving.web.teaching import Teaching

TOP, FRAMES, COLUMNS = 5, 6, 320
PARTS = {"audio": "sound", "visual": "picture", "audio-visual": "picture and sound"}


def percent(fraction: float | None) -> str:
    """A fraction for people.

    >>> percent(0.123), percent(None)
    ('12 %', '–')
    """
    return "–" if fraction is None else f"{100 * fraction:.0f} %"


def answer_html(look: Look, name: str) -> str:
    """One clip's answer and what it rests on."""
    answer = look.explanation.answer
    parts = [
        f'<p class="eyebrow">{escape(name)}</p><h2 class="verdict">{escape(answer.label)}</h2>',
        f'<p class="soft">{_sureness(look)}</p>',
        _bars(list(answer.probabilities.items())[:TOP]),
        _notes([*filter(None, answer.notes.split("; ")), *filter(None, [look.no_events])]),
        _events(look.events),
        _frames(look.explanation),
        _spectrogram(look.explanation),
        _modalities(look.explanation),
    ]
    return f'<article class="answer">{"".join(parts)}</article>'


def problem_html(message: str) -> str:
    """What went wrong, for people."""
    return f'<div class="problem" role="alert"><strong>That did not work.</strong> {escape(message)}</div>'


def _sureness(look: Look) -> str:
    answer = look.explanation.answer
    if answer.known is False and answer.p_value is not None:
        odd = f"only {100 * answer.p_value:.2g} % of the clips of those are as odd"
        return f"It resembles none of the classes it knows: {odd}. This is the nearest; you could teach it a new class."
    sure = "Sure" if answer.probability > 0.9 else "Fairly sure" if answer.probability > 0.6 else "Not sure"
    return f"{sure}; answered from {PARTS.get(answer.modality, 'what there is')}."


def _bars(ranked: Sequence[tuple[str, float]]) -> str:
    rows = "".join(
        f'<div class="bar{" first" if not i else ""}"><span class="name">{escape(label)}</span>'
        f'<span class="track"><i style="width:{100 * value:.1f}%"></i></span><b>{percent(value)}</b></div>'
        for i, (label, value) in enumerate(ranked)
    )
    return f'<div class="bars">{rows}</div>'


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if notes else ""


def _events(events: Sequence[Event]) -> str:
    if not events:
        return ""
    total = max(event.end for event in events)
    labels = list(dict.fromkeys(event.label for event in events if event.label))
    blocks, rows = "", ""
    for event in events:
        label = "nothing to answer for" if event.label is None else event.label
        colour = f"--c:var(--c{labels.index(event.label) % 7})" if event.label else "--c:var(--rule)"
        span = f"{event.start:.1f}–{event.end:.1f} s"
        width = 100 * (event.end - event.start) / total
        blocks += f'<i style="width:{width:.2f}%;{colour}" title="{escape(label)}, {span}"></i>'
        rows += f'<tr><td style="{colour}"><span class="dot"></span>{escape(label)}</td><td>{span}</td>'
        rows += f"<td>{percent(event.probability) if event.label else '–'}</td></tr>"
    return (
        f'<h3>What happens when</h3><div class="strip" role="img" aria-label="Timeline">{blocks}</div>'
        f'<table class="events">{rows}</table>'
    )


def _frames(explanation: Explanation) -> str:
    if explanation.frames is None or explanation.spatial is None:
        return ""
    drawn, times = explanation.draw(), explanation.frame_times
    chosen = np.unique(np.linspace(0, len(drawn) - 1, min(len(drawn), FRAMES)).round().astype(int))
    cells = ""
    for i in chosen:
        when = "" if times is None else f"{times[i]:.1f} s"
        picture = png_data_uri(shrink(drawn[i], 256))
        cells += f'<figure><img alt="Frame {when}" src="{picture}"><figcaption>{when}</figcaption></figure>'
    what = "attended to" if explanation.map_kind == "attention" else "rested its answer on"
    said = f'<h3>Where it looked</h3><p class="soft">Bright places are what it {what}.</p>'
    return f'{said}<div class="frames">{cells}</div>'


def _spectrogram(explanation: Explanation) -> str:
    sound, rate = explanation.sound, explanation.sample_rate
    if sound is None or rate is None or not len(sound):
        return ""
    levels = log_mel(np.asarray(sound, dtype=np.float32), rate)
    stride = -(-levels.shape[1] // COLUMNS)
    width = levels.shape[1] - levels.shape[1] % stride
    levels = levels[:, :width].reshape(len(levels), -1, stride).max(axis=2)
    span = float(np.ptp(levels)) or 1.0
    picture = np.rint(colours((levels[::-1] - levels.min()) / span)).astype(np.uint8)
    seconds = len(sound) / rate
    return (
        '<h3>What it heard</h3><p class="soft">The sound from start to end, low tones at the bottom.</p>'
        f'<img class="spectrogram" alt="Spectrogram of {seconds:.1f} s" src="{png_data_uri(picture)}">'
    )


def _modalities(explanation: Explanation) -> str:
    given = {name: explanation.contributions.get(name) for name in ("audio", "visual")}
    total = sum(abs(value) for value in given.values() if value is not None)
    if not total or any(value is None for value in given.values()):
        return ""
    rows = ""
    for name, value in given.items():
        assert value is not None
        alone = explanation.alone.get(name)
        says = f"alone it would say “{escape(alone[0])}” ({percent(alone[1])})" if alone else ""
        against = " against" if value < 0 else ""
        rows += (
            f'<div class="bar{against}"><span class="name">{PARTS[name]}</span><span class="track">'
            f'<i style="width:{100 * abs(value) / total:.1f}%"></i></span><b>{"−" if value < 0 else "+"}'
            f"{percent(abs(value) / total)}</b></div><p class='soft alone'>{says}</p>"
        )
    runner = escape(explanation.runner_up)
    return (
        f'<h3>Which of them spoke</h3><p class="soft">For “{escape(explanation.answer.label)}” over “{runner}”.</p>'
        f'<div class="bars">{rows}</div>'
    )


def teaching_html(teaching: Teaching | None, sittings: Sequence[dict[str, Any]]) -> str:
    """How far the teaching is or what came of it, and what can be undone."""
    parts = []
    if teaching is not None:
        parts.append(_teaching(teaching))
    if sittings:
        items = "".join(
            f"<li><strong>{escape(s['label'])}</strong> <span class='soft'>{s['learnt']} clips</span></li>"
            for s in reversed(sittings[-10:])
        )
        parts.append(f'<h3>Taught here</h3><ol class="sittings">{items}</ol>')
    return "".join(parts)


def _teaching(teaching: Teaching) -> str:
    label = escape(teaching.label)
    left = [f"{clip['name']}: {clip['reason']}" for clip in teaching.left_out]
    if not teaching.ended.is_set():
        share = 100 * teaching.done / teaching.total if teaching.total else 0
        count = f" {teaching.done} of {teaching.total}" if teaching.total > 1 else ""
        return (
            f'<div class="card" aria-live="polite"><h2>Learning “{label}”</h2>'
            f'<p class="soft">{escape(teaching.doing)}{count}. You may close this page; it goes on.</p>'
            f'<div class="meter"><i style="width:{share:.0f}%"></i></div></div>'
        )
    if teaching.error is not None:
        return problem_html(f"“{teaching.label}” was not learnt: {teaching.error}") + _left_out(left)
    result = teaching.result
    assert result is not None
    rows = "".join(
        f"<tr><th>{name}</th><td>{percent(result['accuracy_before'][key])}</td>"
        f"<td>{percent(result['accuracy_after'][key])}</td><td>{count}</td></tr>"
        for name, key, count in (
            ("Old classes", "old", result["old_clips"]),
            (f"“{label}”", "new", result["held_out"]),
        )
    )
    return (
        f'<div class="card"><h2>It knows “{label}” now</h2><p class="soft">Learnt from {result["learnt"]} clips; '
        f"{result['held_out']} kept aside to measure by.</p><table class='accuracy'><thead><tr><th>Right answers</th>"
        f"<th>before</th><th>after</th><th>clips asked</th></tr></thead><tbody>{rows}</tbody></table>"
        f"{_notes(result['notes'])}{_left_out(left)}</div>"
    )


def _left_out(left: Sequence[str]) -> str:
    return f'<p class="soft">Clips left out:</p>{_notes(left)}' if left else ""


def gallery_html(classes: Sequence[dict[str, Any]], pictures: dict[str, str]) -> str:
    """The classes known with a frame each; `pictures` are data URIs by class."""
    cards = ""
    for known in classes:
        label = escape(known["label"])
        picture = pictures.get(known["label"])
        frame = f'<img alt="" src="{picture}">' if picture else f'<div class="blank">{label[:1]}</div>'
        count = "" if known["clips"] is None else f"{known['clips']} clips"
        count += (" · " if count else "") + "taught here" if known["taught_here"] else ""
        cards += f'<figure class="known">{frame}<figcaption><b>{label}</b><span>{count}</span></figcaption></figure>'
    return f'<div class="gallery">{cards}</div>'


def header_html(classes: int, modality: str) -> str:
    """The top of the page."""
    return (
        '<header class="top"><h1>What does this clip show?</h1>'
        f"<p>A recogniser of {classes} classes that goes by {PARTS.get(modality, modality)}. "
        "Clips stay on the machine that serves this page.</p></header>"
    )


def undone_html(label: str) -> str:
    """What was taken back."""
    return f'<div class="hint">“{escape(label)}” was taken back; it knows what it knew before.</div>'
