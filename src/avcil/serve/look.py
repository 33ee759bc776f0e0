"""All that the page shows of one clip's answer.

F frames of H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avcil.errors import InputError
from avcil.inference.clip_features import ClipFeatures
from avcil.inference.explanation import Explanation
from avcil.inference.recognizer import Recognizer
from avcil.inference.timeline import Event, joined
from avcil.media.reader import MediaSource

WINDOW = 2.0
LONG = 3 * WINDOW
"""Seconds from which a clip gets a timeline."""
WINDOWS = 60
"""Windows that a timeline has at most, about."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """An answer, what it rests on, and the events of a long clip."""

    explanation: Explanation
    events: tuple[Event, ...]
    no_events: str = ""
    """Why a long clip has none."""


def look(recognizer: Recognizer, path: Path, features: ClipFeatures, source: MediaSource) -> Look:
    """Answer and explain.

    Args:
        recognizer: Who answers.
        path: The clip.
        features: Those of the clip.
        source: What reads the clip once more, for its events.

    Raises:
        InputError: There is nothing to answer from.
    """
    explanation = recognizer.explain(features)
    try:
        found = events(recognizer, path, explanation.seconds, source)
    except InputError as error:
        return Look(explanation=explanation, events=(), no_events=str(error).replace(str(path), "the clip"))
    return Look(explanation=explanation, events=found)


def events(
    recognizer: Recognizer, path: Path, seconds: float | None, source: MediaSource
) -> tuple[Event, ...]:
    """The joined events of a long clip, which `source` reads; none of a short one."""
    if not seconds or seconds < LONG:
        return ()
    hop = max(0.5, seconds / WINDOWS)
    window = max(WINDOW, 2 * hop)
    return tuple(joined(recognizer.timeline(path, window=window, hop=hop, source=source)))
