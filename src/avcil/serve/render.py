"""Render a prediction as HTML for the page. Names from users are escaped."""

from __future__ import annotations

from markupsafe import Markup

from avcil.inference.explanation import Explanation
from avcil.inference.prediction import PREDICTED_FROM
from avcil.reporting.attention import GUIDES
from avcil.reporting.attention_figure import attention_figure
from avcil.reporting.contribution_figure import contribution_figure
from avcil.reporting.spectrogram_figure import spectrogram_uri
from avcil.serve.clip_view import ClipView
from avcil.utils.templates import macro, render

_TOP, _MIN_PROBABILITY, _FRAMES, COLUMNS = 5, 0.005, 6, 320
"""Number of classes shown, minimum probability of the third and later ones, number of frames, width of the
spectrogram."""
_MAP_TITLES = {"attention": "Spatial attention", "sensitivity": "Spatial sensitivity"}
_COLORS = 7
"""Number of colors of events."""
_NO_PREDICTION = "no prediction"
PARTS = {"audio": "audio", "visual": "video", "audio-visual": "video and audio"}
"""Names of the modalities on the page."""


def percent(fraction: float | None) -> str:
    """Format a fraction.

    >>> percent(0.123), percent(0.001), percent(0.999), percent(1.0), percent(None)
    ('12 %', '<1 %', '>99 %', '100 %', '–')
    """
    if fraction is None:
        return "–"
    if 0 < fraction < 0.005 or 0.995 <= fraction < 1:
        return "<1 %" if fraction < 0.5 else ">99 %"
    return f"{100 * fraction:.0f} %"


def prediction_html(view: ClipView, name: str) -> str:
    """The prediction of a clip and its explanation."""
    explanation, prediction = view.explanation, view.explanation.prediction
    confidence, notes = _confidence(view)
    ranked = list(prediction.probabilities.items())[:_TOP]
    labels = list(dict.fromkeys(event.label for event in view.events if event.label))
    waveform, rate = explanation.waveform, explanation.sample_rate
    page = render(
        "avcil.serve",
        "prediction",
        name=name,
        prediction=prediction,
        unknown=prediction.in_distribution is False,
        confidence=confidence,
        ranked=[pair for rank, pair in enumerate(ranked) if rank < 2 or pair[1] >= _MIN_PROBABILITY],
        percent=percent,
        notes=[*notes, *filter(None, [view.no_events])],
        contributions=contribution_figure(explanation.contribution_table()),
        events=view.events,
        total=max((event.end for event in view.events), default=0.0),
        colors={label: f"--c:var(--c{number % _COLORS})" for number, label in enumerate(labels)},
        other_color="--c:var(--rule)",
        no_prediction=_NO_PREDICTION,
        attention=_attention(explanation),
        map_title=_MAP_TITLES[explanation.map_kind or "sensitivity"],
        map_guide=GUIDES[explanation.map_kind or "sensitivity"],
        spectrogram=_spectrogram(explanation),
        seconds=len(waveform) / rate if waveform is not None and rate else 0.0,
    )
    return str(page)


def part(name: str, *values: object) -> str:
    """Render a macro of templates/parts.html."""
    return str(macro("avcil.serve", "parts", name, *values))


def problem_html(message: str) -> str:
    """An error message."""
    return part("problem", message)


def busy_html(message: str) -> str:
    """A message with an indeterminate progress bar."""
    return part("busy", message)


def _confidence(view: ClipView) -> tuple[str, list[str]]:
    """A sentence on the confidence and the modalities of the prediction, and the other notes."""
    prediction = view.explanation.prediction
    notes = [note for note in prediction.notes.split("; ") if note]
    reasons = [note for note in notes if not note.startswith(PREDICTED_FROM)]
    source = PARTS.get(prediction.modality, prediction.modality)
    if len(reasons) < len(notes):
        source = f"{source} alone" + (f" ({'; '.join(reasons)})" if reasons else "")
        reasons = []
    if prediction.in_distribution is False:
        return (
            f"This is the most similar known class, but {prediction.why_unknown}. Predicted from {source}.",
            reasons,
        )
    level = "High" if prediction.probability > 0.9 else "Medium" if prediction.probability > 0.6 else "Low"
    return f"{level} confidence. Predicted from {source}.", reasons


def _attention(explanation: Explanation) -> Markup:
    if explanation.frames is None or explanation.spatial is None or explanation.temporal is None:
        return Markup()
    times = None if explanation.frame_times is None else explanation.frame_times.tolist()
    return Markup(
        attention_figure(
            list(explanation.frames), times, explanation.spatial, explanation.temporal, max_frames=_FRAMES
        )
    )


def _spectrogram(explanation: Explanation) -> str:
    """The spectrogram as a data URI; empty without audio."""
    waveform, rate = explanation.waveform, explanation.sample_rate
    if waveform is None or rate is None or not len(waveform):
        return ""
    return spectrogram_uri(waveform, rate, max_columns=COLUMNS)
