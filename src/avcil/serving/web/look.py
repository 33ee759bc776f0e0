"""All that the page shows of one clip's answer.

F frames of H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avcil.errors import InputError
from avcil.serving.explanation import Explanation
from avcil.serving.recognizer import Recognizer
from avcil.serving.timeline import Event, joined

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


def look(recognizer: Recognizer, path: Path) -> Look:
    """Ask about a clip and look at the answer; InputError if it cannot be read."""
    explanation = recognizer.explain(path)
    try:
        found = events(recognizer, path, explanation.seconds)
    except InputError as error:
        return Look(explanation=explanation, events=(), no_events=str(error).replace(str(path), "the clip"))
    return Look(explanation=explanation, events=found)


def events(recognizer: Recognizer, path: Path, seconds: float | None) -> tuple[Event, ...]:
    """The joined events of a long clip; none of a short one."""
    if not seconds or seconds < LONG:
        return ()
    hop = max(0.5, seconds / WINDOWS)
    return tuple(joined(recognizer.timeline(path, window=max(WINDOW, 2 * hop), hop=hop)))
