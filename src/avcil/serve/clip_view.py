"""The prediction of a clip with everything that the page shows: explanation and timeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avcil.errors import InputError
from avcil.inference.clip_features import ClipFeatures
from avcil.inference.explanation import Explanation
from avcil.inference.recognizer import Recognizer
from avcil.inference.timeline import TimelineEvent, joined
from avcil.media.reader import MediaReader

_WINDOW = 2.0
_MIN_TIMELINE = 3 * _WINDOW
"""Minimum duration of a clip with a timeline, in seconds."""
_MAX_WINDOWS = 60
"""Approximate maximum number of windows of a timeline."""


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """A prediction with its explanation, and the timeline of a long clip."""

    explanation: Explanation
    events: tuple[TimelineEvent, ...]
    no_events: str = ""
    """Why a long clip has no timeline."""


def clip_view(recognizer: Recognizer, path: Path, features: ClipFeatures, source: MediaReader) -> ClipView:
    """Predict and explain a clip.

    Args:
        recognizer: The recognizer.
        path: The clip.
        features: Features of the clip.
        source: Decodes the clip for the timeline.

    Raises:
        InputError: The clip has no usable modality.
    """
    explanation = recognizer.explain(features)
    try:
        timeline_events = events(recognizer, path, explanation.seconds, source)
    except InputError as error:
        reason = str(error).replace(str(path), "the clip")
        return ClipView(explanation=explanation, events=(), no_events=reason)
    return ClipView(explanation=explanation, events=timeline_events)


def events(
    recognizer: Recognizer, path: Path, seconds: float | None, source: MediaReader
) -> tuple[TimelineEvent, ...]:
    """The joined events of a long clip, decoded by `source`; none for a short one."""
    if not seconds or seconds < _MIN_TIMELINE:
        return ()
    hop = max(0.5, seconds / _MAX_WINDOWS)
    window = max(_WINDOW, 2 * hop)
    return tuple(joined(recognizer.timeline(path, window=window, hop=hop, source=source)))
